"""The page of a report as text, and what is computed for it."""

import hashlib
import io
import json
import re
from base64 import b64decode, b64encode
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from report_tools import HOSTILE, encoded, evaluation, picture, run, training

from gcseg.utils import DataError
from gcseg.visualization.report import Calibration, Curve, Run, render_report
from gcseg.visualization.report.pictures import ERROR_COLOURS, error_png, label_png


class Page(HTMLParser):
    """Elements with their attributes, text outside of scripts, and the order of nesting."""

    VOID = {"meta", "link", "img", "input", "br"}

    def __init__(self, text):
        super().__init__()
        self.elements, self.words, self.open = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def data_of(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


def test_the_page_is_whole_and_well_formed():
    text = render_report(run(), made="made today")
    page = Page(text)
    for tag, attributes in page.elements:
        for key in ("src", "href", "srcset", "action", "data"):
            assert (attributes.get(key) or "#").startswith(("#", "data:")), (tag, attributes)
    assert "@import" not in text and "url(" not in text
    policy = next(m["content"] for m in page.all("meta") if "content" in m and "default-src" in m["content"])
    script = re.search(r"<script>(.*?)</script>", text, re.S)[1]
    assert f"'sha256-{b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
    assert policy.startswith("default-src 'none'") and "unsafe-eval" not in policy
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids)) and {a["href"][1:] for a in page.all("a")} <= set(ids)
    assert all(image["alt"] for image in page.all("img"))
    assert "test of iter_4.pth · made today" in page.text


@pytest.mark.parametrize("where", ["name", "class", "path", "config", "environment", "curve", "subject"])
def test_texts_of_the_data_stay_texts(where):
    found = evaluation()
    changes = {
        "name": dict(name=HOSTILE),
        "class": dict(evaluation=evaluation(name=HOSTILE + "{}")),
        "path": dict(evaluation=replace(found, worst=(replace(picture(0, 4), path=HOSTILE),))),
        "config": dict(config=HOSTILE),
        "environment": dict(environment={HOSTILE: HOSTILE}),
        "curve": dict(training=replace(training(), losses=(Curve(HOSTILE, (1, 2), (1.0, 2.0)),))),
        "subject": dict(evaluation=replace(found, subject=HOSTILE)),
    }[where]
    plain, text = Page(render_report(run())), render_report(run(**changes), run(**changes))
    page = Page(text)
    assert not any("onerror" in attributes for _, attributes in page.elements)
    assert {a.get("src", "data:")[:5] for a in page.all("img")} == {"data:"}
    assert len(page.all("script")) == len(plain.all("script")) == 2
    if where != "path":
        assert HOSTILE in "".join(page.words) + json.dumps(data_of(text), ensure_ascii=False).replace('\\"', '"')


def test_what_is_missing_is_said():
    nothing = Page(render_report(Run("empty")))
    assert "no log of a training" in nothing.text and "No test was recorded" in nothing.text
    assert "No config was found" in nothing.text
    scores = tuple(replace(c, boundary_iou=None) for c in evaluation().classes)
    bare = replace(evaluation(pictures=0), classes=scores, confusion=None, calibration=None, boundary_ratio=None)
    page = Page(render_report(run(evaluation=bare, training=None)))
    assert "as those of test-time augmentation do" in page.text and "No pictures were kept" in page.text
    assert "Only scores are left" in page.text and "boundary" not in page.text.lower()
    some = replace(evaluation(), num_uncalibrated=3, num_unlabelled=2, outside=1234)
    text = Page(render_report(run(evaluation=some))).text
    assert "3 of 40 images came without probabilities" in text and "2 of 40 images have no labelled pixel" in text
    assert "1,234 labelled pixels were predicted as something that is no class" in text
    assert "The other run left" not in Page(render_report(run(), run())).text
    other = Page(render_report(run(), Run("empty"))).text
    assert "The other run left no log" in other and "The other run left no scores of classes" in other
    assert "A loss was not finite at iteration 620" in text and "resumed at iteration 600" in text


def test_classes_are_compared_by_name():
    other = run(name="before", evaluation=evaluation(5, shift=-0.05), config="a = 1\nb = 3\n")
    text = render_report(run(), other)
    page = Page(text)
    rows = re.findall(r'<th scope="row"><span class="swatch".*?</span>(class \d)</th>(.*?)</tr>', text, re.S)
    ious = [float(re.search(r'data-value="([\d.]+)"', cells)[1]) for _, cells in rows]
    changes = [re.search(r'class="(better|worse)">([-+][\d.]+)', cells).groups() for _, cells in rows]
    assert [name for name, _ in rows] == [f"class {i}" for i in range(4)]
    assert ious == pytest.approx([0.2, 0.4, 0.6, 0.8])
    # The other run has (i + 1) / 6 - 0.05.
    expected = [100 * ((i + 1) / 5 - (i + 1) / 6 + 0.05) for i in range(4)]
    assert [float(points) for _, points in changes] == pytest.approx(expected, abs=0.05)
    assert {kind for kind, _ in changes} == {"better"}
    assert "0 of 4 classes are not in the other run, and 1 of its 5 are not in this one" in page.text
    assert "-b = 3 +b = 2" in page.text
    assert "50.0" in (mean := re.search(r"<dt>mIoU</dt><dd>(.*?)</dd>", text)[1]) and "+5.0" in mean
    strangers = run(evaluation=evaluation(name="other {}"))
    text = render_report(run(), strangers)
    assert (
        "4 of 4 classes are not in the other run" in text
        and "better" not in re.search("<tbody>.*?</tbody>", text, re.S)[0]
    )


def test_confusions_are_listed_from_the_largest():
    found = evaluation()
    found.confusion[2, 1], found.confusion[0, 3] = 500, 300
    text = render_report(run(evaluation=found))
    table = text.partition("The largest confusions")[2].partition("</table>")[0]
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in table.split("<tr>")[2:]]
    assert rows[0] == ["class 2", "class 1", "500", "32.9"] and rows[1][:3] == ["class 0", "class 3", "300"]
    assert data_of(text)["confusion"][2][1] == 500


@pytest.mark.parametrize("classes", [1, 150, 300])
def test_any_number_of_classes(classes):
    text = render_report(run(evaluation=evaluation(classes, pictures=2 if classes == 300 else 6)))
    assert len(data_of(text)["confusion"]) == classes and Page(text).text.count("class 0") >= 1
    assert len(text) < 5e6


def test_expected_calibration_error():
    found = Calibration((0.0, 10.0, 30.0), (0.0, 5.0, 27.0), (0.0, 6.0, 24.0))
    # A quarter of the pixels: 60% right at 50% confidence; the others 80% at 90%.
    assert found.error == pytest.approx(0.25 * 0.1 + 0.75 * 0.1)
    assert np.isnan(Calibration((0.0,), (0.0,), (0.0,)).error)
    assert "<strong>10.00%</strong>" in render_report(run())


def test_long_curves_keep_extremes_and_gaps():
    generator = np.random.default_rng(0)
    values = generator.normal(size=10_000).tolist()
    values[1234], values[7777], values[5000], values[5001] = 50.0, -50.0, None, None
    curve = Curve("loss", tuple(range(10_000)), tuple(values))
    thin = curve.thinned(600)
    assert len(thin.steps) <= 600 and list(thin.steps) == sorted(thin.steps)
    assert [thin.steps[0], thin.steps[-1]] == [0, 9999]
    assert [values[step] for step in thin.steps] == list(thin.values)
    assert {50.0, -50.0, None} <= set(thin.values)
    assert curve.thinned(10_000) is curve
    nothing = Curve("loss", tuple(range(5000)), (None,) * 5000).thinned()
    assert set(nothing.values) == {None} and len(nothing.steps) <= 800
    text = render_report(run(training=replace(training(), losses=(curve,))))
    assert len(text) < len(render_report(run())) + 30_000


def test_the_colours_of_maps():
    labels = np.array([[0, 1, 2], [2, 1, 0]])
    palette = [[200, 10, 20], [30, 150, 40]]
    found = np.asarray(Image.open(io.BytesIO(label_png(labels, palette))).convert("RGB"))
    assert found.tolist() == [[palette[0], palette[1], [0, 0, 0]], [[0, 0, 0], palette[1], palette[0]]]
    many = [[i % 256, i // 256, 7] for i in range(300)]
    found = np.asarray(Image.open(io.BytesIO(label_png(np.array([[299, 300]]), many))).convert("RGB"))
    assert found.tolist() == [[many[299], [0, 0, 0]]]
    truth, prediction = np.array([[0, 0, 2]]), np.array([[0, 1, 0]])
    found = np.asarray(Image.open(io.BytesIO(error_png(truth, prediction, 2))).convert("RGBA"))
    assert [tuple(p) for p in found[0]] == list(ERROR_COLOURS)


def test_tiles_hold_the_pictures():
    found = picture(0, 4)
    text = render_report(run(evaluation=replace(evaluation(), worst=(found,), best=())))
    uris = {a["alt"]: a["src"].partition(",")[2] for a in Page(text).all("img")}
    assert b64decode(uris["photograph of p0.jpg"]) == found.photograph
    error = np.asarray(Image.open(io.BytesIO(b64decode(uris["error of p0.jpg"]))).convert("RGBA"))
    assert [tuple(error[row, column]) for row, column in ((10, 10), (10, 30), (0, 0))] == list(ERROR_COLOURS)


def test_pictures_that_cannot_be_read():
    broken = replace(picture(0, 4), truth=b"no picture")
    with pytest.raises(DataError, match=r"p0\.jpg"):
        render_report(run(evaluation=replace(evaluation(), worst=(broken,))))
    gone = replace(picture(0, 4), photograph=None)
    assert "no photograph" in render_report(run(evaluation=replace(evaluation(), worst=(gone,))))
    assert encoded(np.zeros((2, 2)))[:4] == b"\x89PNG"
