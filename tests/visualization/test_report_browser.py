"""The page of a report in headless Chromium: what a person does with it works, without a network.

The page answers keys at once, but pointers, taps and another medium with its next frame: there the tests wait.
"""

import os
import re
import shutil
from dataclasses import replace

import pytest
from report_tools import HOSTILE, evaluation, run

from gcseg.visualization.report import Run, render_report

# Without these, Chromium looks for its maker's servers at every start.
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
PHONE = dict(width=390, height=844)


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs Chromium (Debian's package chromium, or its path in CHROMIUM)")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS, timeout=300_000)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, tmp_path):
    """Opens a report from a file with an unusual name; in the end nothing was requested or complained of."""
    pages, problems = [], []

    def open_page(report, other=None, viewport=None, **options):
        folder = tmp_path / "Straße #1"
        folder.mkdir(exist_ok=True)
        file = folder / f"{len(pages)}.html"
        file.write_text(render_report(report, other, "made today"), encoding="utf-8")
        size = viewport or dict(width=1200, height=800)
        page = browser.new_context(viewport=size, reduced_motion="reduce", **options).new_page()
        page.set_default_timeout(300_000)
        page.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: problems.append(str(e)))
        page.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else problems.append(r.url))
        page.goto(file.as_uri())
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.context.close()
    assert problems == []


def drawn(page):
    return page.locator("#matrix").evaluate("canvas => canvas.toDataURL()")


def wait_until_drawn(page, condition, picture):
    """Waits for the page to hear of another medium: it is told before the next frame, not at once."""
    page.wait_for_function(f"picture => document.getElementById('matrix').toDataURL() {condition} picture", arg=picture)


def first_column(page):
    return page.locator("#classes tbody th").all_inner_texts()


def test_the_class_table_sorts_by_mouse_and_by_keyboard(visit):
    found = evaluation()
    scores = (*found.classes[:3], replace(found.classes[3], iou=None))
    page = visit(run(evaluation=replace(found, classes=scores)), run(evaluation=evaluation(3)))
    iou = page.locator("#classes thead th").nth(1)
    assert iou.get_attribute("aria-sort") == "none"
    iou.locator("button").click()
    assert first_column(page) == ["class 2", "class 1", "class 0", "class 3"]  # what has no value comes last
    assert iou.get_attribute("aria-sort") == "descending"
    page.keyboard.press("Enter")
    assert first_column(page) == ["class 0", "class 1", "class 2", "class 3"]
    assert iou.get_attribute("aria-sort") == "ascending"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    page.keyboard.press("Space")
    assert first_column(page)[0] == "class 3" and iou.get_attribute("aria-sort") == "none"


def test_images_are_filtered_by_class(visit):
    page = visit(run())
    visible = page.locator(".card:visible .name")
    assert visible.count() == 6
    page.select_option("#class-filter", label="class 2")
    assert visible.all_inner_texts() == ["p1.jpg", "p2.jpg", "p5.jpg"]
    assert page.locator("#filter-count").inner_text() == "3 of 6 images"
    page.select_option("#class-filter", label="any")
    assert visible.count() == 6


def test_a_picture_is_zoomed_by_keyboard(visit):
    page = visit(run())
    page.select_option("#class-filter", label="class 2")
    opener = page.locator(".card:visible .open").first
    assert opener.get_attribute("aria-label") == "Zoom into p1.jpg"
    opener.focus()
    page.keyboard.press("Enter")
    viewer, title = page.locator("dialog"), page.locator("#viewer-title")
    assert viewer.is_visible() and title.inner_text() == "p1.jpg"
    assert page.locator(".view").count() == 4

    def scales():
        texts = page.locator(".stage").evaluate_all("stages => stages.map((s) => s.style.transform)")
        assert len(set(texts)) == 1  # all four move together
        return [float(v) for v in re.findall(r"-?[\d.]+(?=px|\))", texts[0])]

    assert scales()[0] == 1
    page.keyboard.press("+")
    page.keyboard.press("+")
    zoomed = scales()
    assert zoomed[0] == 2.25 and zoomed[1] < 0 and zoomed[2] < 0
    page.keyboard.press("Shift+ArrowRight")
    assert scales()[1] < zoomed[1] and scales()[2] == zoomed[2]
    page.keyboard.press("0")
    assert scales() == [1, 0, 0]
    for name in ("p2.jpg", "p5.jpg", "p1.jpg"):  # of the filtered ones, round and round
        page.keyboard.press("ArrowRight")
        assert title.inner_text() == name
    page.keyboard.press("ArrowLeft")
    assert title.inner_text() == "p5.jpg"
    page.keyboard.press("Escape")
    viewer.wait_for(state="hidden")
    page.wait_for_function("document.activeElement === document.querySelectorAll('.card:not([hidden]) .open')[0]")


def test_a_picture_is_zoomed_by_mouse(visit):
    page = visit(run())
    page.locator(".tiles").first.click()
    view = page.locator(".view").nth(1)
    view.hover()
    page.mouse.wheel(0, -100)
    scale = "() => Number(document.querySelector('.panes').style.getPropertyValue('--zoom'))"
    page.wait_for_function(f"({scale})() > 1.1")
    box = view.bounding_box()
    corner = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(*corner)
    page.mouse.down()
    page.mouse.move(corner[0] - 30, corner[1])
    page.mouse.up()
    page.wait_for_function("new DOMMatrix(document.querySelectorAll('.stage')[3].style.transform).e < -30")
    page.get_by_label("zoom out (-)").click()
    page.get_by_label("close (Esc)").click()
    page.locator("dialog").wait_for(state="hidden")


def test_curves_are_read_by_keyboard_and_pointer(visit):
    page = visit(run(), run(name="before"))
    chart = page.locator("#chart-loss .plot")
    chart.focus()
    page.keyboard.press("ArrowRight")
    assert chart.get_attribute("aria-valuetext") == "20: loss 2, decode.loss_ce 1, loss (other run) 2"
    page.keyboard.press("PageUp")
    page.keyboard.press("ArrowLeft")
    assert chart.get_attribute("aria-valuetext").startswith("200: loss 0.2,")
    page.keyboard.press("End")
    assert page.locator("#chart-loss output").inner_text().startswith("1,200: loss 0.0333")
    box = chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 50)
    middle = re.compile(r"^(5[6-9]\d|6[0-3]\d|640):")  # the pointer is told of in the next frame
    page.locator("#chart-loss output").filter(has_text=middle).wait_for()
    lines = page.locator("#chart-loss .plot path.curve")
    before = lines.count()
    page.locator("#chart-loss button", has_text="decode.loss_ce").click()
    assert lines.count() == before - 1
    old = lines.first.get_attribute("d")
    page.locator("#chart-loss button", has_text="logarithmic").click()
    assert lines.first.get_attribute("d") != old and "M" in lines.first.get_attribute("d")[1:]  # the gap stays
    assert page.locator("#chart-loss .gap").count() == 1 and page.locator("#chart-loss .mark").count() == 1
    diagram = page.locator("#reliability .plot")
    diagram.focus()
    page.keyboard.press("End")
    assert "67 to 100%: 80.0% right at a mean confidence of 90.0%; 75.00%" in diagram.get_attribute("aria-valuetext")


def test_confusions_are_read_by_keyboard_and_pointer(visit):
    found = evaluation()
    found.confusion[1, 2] = 505
    page = visit(run(evaluation=found))
    matrix, readout = page.locator("#matrix"), page.locator("#matrix-readout")
    matrix.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    assert readout.inner_text() == "wrong: true class 1, predicted class 2: 505 pixels, 33.11% of the true class"
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")  # there is no further one
    assert "true class 1, predicted class 3" in readout.inner_text()
    box = matrix.bounding_box()
    page.mouse.click(box["x"] + box["width"] - 10, box["y"] + box["height"] - 10)
    readout.filter(has_text="right: true class 3, predicted class 3: 1,000 pixels").wait_for()


@pytest.mark.parametrize("classes", [4, 150])
def test_nothing_leaves_the_screen_of_a_phone(visit, classes):
    long = evaluation(classes, name="a_class_with_a_name_that_does_not_end_before_the_screen_does_{}")
    page = visit(run(name="run_" + 60 * "x", evaluation=long), run(), viewport=PHONE, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.locator("#chart-loss .plot").tap()
    page.locator("#chart-loss output").filter(has_text=re.compile(r"^\d")).wait_for()
    page.locator("#matrix").tap(position=dict(x=200, y=200))
    page.locator("#matrix-readout").filter(has_text="predicted").wait_for()
    page.locator(".card .open").first.tap()
    page.locator("dialog").wait_for()
    assert page.evaluate("document.querySelector('dialog').scrollWidth") <= 390
    for button in page.locator("dialog button").all():
        box = button.bounding_box()
        assert box["width"] >= 35 and box["height"] >= 35 and box["x"] >= 0 and box["x"] + box["width"] <= 390


LUMINANCE = """selector => {
  const node = document.querySelector(selector), parse = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = (rgb) => rgb.map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  let ground = node;
  while (getComputedStyle(ground).backgroundColor === "rgba(0, 0, 0, 0)") ground = ground.parentElement;
  return [getComputedStyle(node).color, getComputedStyle(ground).backgroundColor].map((c) => light(parse(c)));
}"""


def test_dark_mode_and_contrast(visit):
    grounds = {}
    for scheme in ("light", "dark"):
        page = visit(run(), run(evaluation=evaluation(shift=-0.1)), color_scheme=scheme)
        for selector in ("h1", ".note", ".lead", "nav a", ".better", "dt", ".card .score", "output", "thead button"):
            ink, ground = page.evaluate(LUMINANCE, selector)
            assert (max(ink, ground) + 0.05) / (min(ink, ground) + 0.05) >= 4.5, (scheme, selector)
        grounds[scheme] = page.evaluate(LUMINANCE, "body")[1], drawn(page)
    assert grounds["light"][0] > 0.9 and grounds["dark"][0] < 0.05
    assert grounds["light"][1] != grounds["dark"][1]
    page.emulate_media(color_scheme="light")  # while it is open
    wait_until_drawn(page, "===", grounds["light"][1])


def test_the_focus_goes_through_the_page_in_its_order(visit):
    page = visit(run())
    seen = []
    while True:
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):  # once round
            break
        seen.append(
            page.evaluate(
                "document.activeElement.closest('section')?.id ?? document.activeElement.getAttribute('href')"
            )
        )
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert seen[:2] == ["#main", "#training"]
    sections = list(dict.fromkeys(s for s in seen if s and not s.startswith("#")))
    assert sections[:5] == ["training", "classes", "confusion", "calibration", "images"]


def test_hostile_texts_run_nothing(visit):
    strange = evaluation(name=HOSTILE + "{}")
    page = visit(
        run(name=HOSTILE, config=HOSTILE, evaluation=strange, environment={HOSTILE: HOSTILE}), run(name=HOSTILE)
    )
    assert page.title() == f"{HOSTILE} – gcseg report".replace("\u2028", " ") or HOSTILE[:9] in page.title()
    page.locator("#matrix").focus()
    page.keyboard.press("ArrowRight")
    assert HOSTILE[:9] in page.locator("#matrix-readout").inner_text()
    assert page.locator("img[src='x']").count() == 0 and page.title() != "1"


def test_a_report_with_little_in_it_works(visit):
    visit(Run("empty"))
    one = visit(run(evaluation=evaluation(1), training=None))
    one.locator("#matrix").focus()
    one.keyboard.press("ArrowRight")
    assert "right: true class 0" in one.locator("#matrix-readout").inner_text()


def test_it_can_be_printed(visit):
    page = visit(run(), color_scheme="dark")
    dark = drawn(page)
    page.emulate_media(media="print")
    wait_until_drawn(page, "!==", dark)
    assert not page.locator("nav").is_visible() and not page.locator(".open").first.is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.pdf()[:5] == b"%PDF-"
