"""What the documentation shows is true: its code runs, its links and its options exist."""

import argparse
import re
import shutil

import pytest
import torch
from doc_pages import ROOT, Reader, blocks, check_unrun, commands
from reader_folder import prepare, reading

from gcseg import cli
from gcseg.config import load_config, recipes

PAGES = [ROOT / "README.md", ROOT / "configs" / "gcnet" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
OPTION = re.compile(r"--[a-z][\w-]+")
LANGUAGES = {"bash", "python", "text", "yaml"}
BLOCKS = [block for page in PAGES for block in blocks(page)]
NOT_RUN = [block for block in BLOCKS if block.left_out is not None]
RECIPE = re.compile(r"\b[a-z]+net_r\d+-d8\S*?_\dxb\d-\w+-\d+x\d+|\bfcn_r\d+-d8\S*?_\dxb\d-\w+-\d+x\d+")
EXPORTS = {ROOT / "README.md", ROOT / "docs" / "deployment.md"}
# Files that the text of a page promises.
DEMO = "work_dirs/gcnet_r18-d8_1xb8-1200_demo-128x128"
LEAVES = {
    "README.md": "pictures/vis_data/vis_image/*.png pictures/overlay/*.jpg my_config.onnx my_model/model.safetensors",
    "docs/context_ablations.md": "work_dirs/nlnet-1/iter_300.pth attention.png cost.json",
    "docs/deployment.md": "model.onnx model.pt2 labels.png model_int8.onnx latency.json",
    "docs/get_started.md": f"{DEMO}/best_mIoU_iter_*.pth {DEMO}/metrics.json {DEMO}/report.html {DEMO}/*/vis_data "
    f"{DEMO}/pictures/vis_data/vis_image/*.png",
    "docs/reliability.md": "work_dirs/run/iter_40000.pth gcnet_mine-????????.safetensors labels/*.png",
    "docs/user_guide/data.md": "data/from_*/labels/train/*.png data/cityscapes/decoded_store "
    "data/VOCdevkit/VOC2012/SegmentationClassAug/*.png data/VOCdevkit/VOC2012/ImageSets/Segmentation/aug.txt",
    "docs/user_guide/inference.md": "results/overlay/drive.mp4 results/index/drive/000000.png results/palette/0.png "
    "results/probs/0.npz results/vis/*.* results/pred/*.png result.png",
    "docs/user_guide/report.md": "mine.html work_dirs/mine/report.html work_dirs/mine/report.json",
    "docs/user_guide/tools.md": "attention.png curves.png pictures/*.* confusion.png counts.csv rates.png cam.png "
    "merged.py found.json gcnet_mine-????????.pth",
    "docs/user_guide/train_test.md": "work_dirs/my_config/my_config.py work_dirs/my_config/last_checkpoint "
    "work_dirs/my_config/best_mIoU_iter_40000.pth work_dirs/my_config/metrics.json work_dirs/my_config/*/vis_data",
}
OLD = tuple(int(n) for n in torch.__version__.split(".")[:2]) < (2, 7)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("reader"))


@pytest.fixture
def reader(prepared, tmp_path):
    folder = tmp_path / "folder"
    shutil.copytree(prepared, folder, symlinks=True, ignore=shutil.ignore_patterns("cache"))
    with reading(folder, prepared / "cache") as monkeypatch:
        yield Reader(folder, monkeypatch)
    shutil.rmtree(folder)


def test_the_pages_are_found():
    assert len(PAGES) > 25
    assert len([block for block in BLOCKS if block.language in ("bash", "python")]) > 100
    assert {block.language for block in BLOCKS} <= LANGUAGES and all((ROOT / page) in PAGES for page in LEAVES)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda p: str(p.relative_to(ROOT)))
def test_a_page_does_what_it_says(reader, page):
    if page in EXPORTS:
        pytest.importorskip("onnxscript")
        if OLD:
            pytest.skip("torch.export keeps sizes open from torch 2.7 on")
    reader.follow(page)
    for pattern in LEAVES.get(str(page.relative_to(ROOT)), "").split():
        assert list(reader.folder.glob(pattern)), f"{page.name}: no {pattern}"


@pytest.mark.parametrize("block", NOT_RUN, ids=str)
def test_what_is_not_run_can_be_read(block):
    check_unrun(block)


def test_few_blocks_are_not_run():
    whole = [block for block in NOT_RUN if not block.left_out and "tests/" not in block.comments]
    assert len(whole) <= 25, "\n".join(map(str, whole))


def test_recipes_that_are_named_exist():
    named = {(name, str(b)) for b in BLOCKS if b.language != "text" for name in RECIPE.findall(b.code)}
    assert len(named) > 25 and [place for place in named if place[0] not in recipes()] == []


BROKEN = {
    "a program": ("```python\nx = 1\n```\n\n```python\nassert x == 2\n```", "assert x == 2"),
    "an option": ("```bash\ngcseg train my_config.py --dry-rum\n```", "unrecognized arguments: --dry-rum"),
    "a file": ("```bash\ngcseg predict my_config.py no.jpg --weights weights.pth --out x\n```", "no.jpg"),
    "a later line": ("```bash\ngcseg configs\nfor n in r18 r19; do\n  gcseg configs $n\ndone\n```", "r19"),
    "a tool": ("```bash\npython tools/misc/print_config.py \\\n  --grap\n```", "--grap"),
    "a command of others": ("```bash\npip install gcseg\n```", "not run [(]pip[)]"),
    "a script": ("```bash\ntools/dist_train.sh my_config.py 2\n```", "bash: .*tools/dist_train.sh: No such file"),
    "a language": ("```yaml\na: 1\n```", "KeyError: 'yaml'"),
    "a reason": ("<!-- not run: -->\n```bash\npip install gcseg\n```", "not run [(]pip[)]"),
    "a key": ("```python\ntrain_cfg = dict(max_iter=3)\n```", "unknown key.*max_iter"),
    "a value": ("```python\n# mine.py\nmodel = dict(decode_head=dict(in_channels=512))\n```", "in_channels is 512"),
    "a module": ("```python\n# mine.py\nimport gcsegg\n```", "gcsegg"),
    "a result": (
        "```bash\ngcseg configs 1200 nlnet\n```\n<!-- as printed -->\n```text\ngcnet_r18\n```",
        "printed is:\nnlnet_r18-d8_1xb8-1200_demo-128x128\n",
    ),
}


@pytest.mark.parametrize(("text", "said"), BROKEN.values(), ids=BROKEN)
def test_a_broken_page_is_found_broken(reader, text, said):
    page = reader.folder / "page.md"
    page.write_text(f"# A page\n\n{text}\n")
    with pytest.raises(AssertionError, match=rf"^page.md, line \d+:\n(?s:.*){said}"):
        reader.follow(page)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<!-- not run: x -->\n```bash\ntorchrun tools/train.py a.py --rezume\n```", "--rezume"),
        ("<!-- not run: x -->\n```bash\nA=1 bash tools/dist_train.sh a.py 4 --worc-dir x\n```", "--worc-dir"),
        ("<!-- not run: x -->\n```python\nimport = 3\n```", "invalid syntax"),
        ("<!-- not run (pip, dockr): x -->\n```bash\npip install a && docker b\n```", "dockr"),
    ],
)
def test_a_broken_block_that_is_not_run_is_found(tmp_path, text, said):
    (tmp_path / "page.md").write_text(f"{text}\n")
    (block,) = blocks(tmp_path / "page.md")
    with pytest.raises((AssertionError, SyntaxError), match=said):
        check_unrun(block)


def test_bash_reads_bash():
    loop = 'for n in 1 2; do\n  B=$n gcseg train $A \\\n    --x "$n $A"  # why\ndone'
    found = commands(f"export A='x y'\ncd /; a > c\n{loop}\n. z && pip i")
    assert [argv for argv, _ in found] == [
        ["cd", "/"],
        ["a"],
        ["gcseg", "train", "x", "y", "--x", "1 x y"],
        ["gcseg", "train", "x", "y", "--x", "2 x y"],
        ["pip", "i"],
        ["END"],
    ]
    assert [env.get("B") for _, env in found] == [None, None, "1", "2", None, None]
    assert all(env["A"] == "x y" for _, env in found)


def test_lengths_are_cut_and_undone(reader):
    page = reader.folder / "page.md"
    page.write_text("```python\nfrom gcseg.config import load_config\ncfg = load_config('my_config.py')\n```\n")
    reader.follow(page)
    small, full = reader.names["cfg"], load_config("my_config.py")
    assert (small.model.backbone.base_channels, small.model.backbone.depth, full.model.backbone.depth) == (8, 18, 50)
    assert (small.model.decode_head.in_channels, full.model.decode_head.in_channels) == (64, 2048)
    assert small.train_cfg == full.train_cfg


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_local_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page}: {target}"


def options_of(parser):
    found = set(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found.update(*map(options_of, action.choices.values()))
    return found


@pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda command: command.name)
def test_the_options_of_the_pages_are_those_of_the_commands(command):
    text = "\n".join(page.read_text() for page in PAGES)
    lines = re.findall(rf"(?:gcseg |tools/){command.name}\b([^`\n]*)", text)
    shown = {option for line in lines for option in OPTION.findall(line)}
    if command in (cli.TRAIN, cli.TEST):
        section = (ROOT / "docs/user_guide/train_test.md").read_text().split(f"## {command.name.capitalize()}\n")[1]
        table = [line for line in section.split("\n## ")[0].splitlines() if line.startswith("|")]
        shown.update(OPTION.findall(" ".join(table)))
        assert len(shown) > 6
    assert lines and shown <= options_of(command.fill(argparse.ArgumentParser()))


def test_the_check_script_finds_its_command():
    readme = (ROOT / "README.md").read_text()
    found = re.findall(r"<!-- tests: begin -->\s*```bash\n(.*?)```\s*<!-- tests: end -->", readme, flags=re.S)
    assert [line.strip() for line in found] == ["pip install -e '.[tests]' && python -m pytest -n 2"]
