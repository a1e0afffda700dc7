"""LabelMe, COCO and colour-coded annotations drawn here, to a folder that FolderDataset reads."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gcseg.datasets import FolderDataset
from gcseg.datasets.converters import convert_coco, convert_colours, convert_labelme, read_colours
from gcseg.utils.errors import ConfigError, DataError

TOOL = Path(__file__).parents[3] / "tools/dataset_converters/annotations.py"
WIDTH, HEIGHT = 8, 6


def picture(folder, name):
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT), (9, 9, 9)).save(folder / name)


def square(left, top, right, bottom):
    """Corners of the pixels from (left, top) to (right, bottom), both included."""
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def labelme(folder, stem, shapes):
    picture(folder, f"{stem}.png")
    content = dict(imagePath=f"{stem}.png", imageWidth=WIDTH, imageHeight=HEIGHT, shapes=shapes)
    (folder / f"{stem}.json").write_text(json.dumps(content))


def shape(label, points, kind="polygon"):
    return dict(label=label, points=points, shape_type=kind)


def labels(out):
    return {f.stem: np.array(Image.open(f)) for f in sorted((out / "labels").rglob("*.png"))}


@pytest.fixture
def two(tmp_path):
    """One image with a cat over a dog; one with a circle."""
    labelme(tmp_path / "in", "a", [shape("dog", square(0, 0, 5, 5)), shape("cat", [[6, 4], [4, 2]], "rectangle")])
    labelme(tmp_path / "in", "b", [shape("dog", [[4, 3], [6, 3]], "circle")])
    return tmp_path


def test_labelme(two):
    assert convert_labelme(two / "in", two / "out", val_share=0.5) == {"train": 1, "val": 1}
    expected = np.full((HEIGHT, WIDTH), 255)
    expected[0:6, 0:6] = 1
    expected[2:5, 4:7] = 0
    found = labels(two / "out")
    assert np.array_equal(found["a"], expected)
    assert found["b"][3, 4] == 1 and found["b"][0, 0] == 255 and 9 <= (found["b"] == 1).sum() <= 21
    for split in ("train", "val"):  # the data set reads what was written
        dataset = FolderDataset(data_root=str(two / "out"), split=split, pipeline=[])
        assert len(dataset) == 1 and list(dataset.metainfo["classes"]) == ["cat", "dog"]


def test_a_background_is_class_zero(two):
    convert_labelme(two / "in", two / "out", background="nothing", val_share=0)
    assert (two / "out" / "classes.txt").read_text().split() == ["nothing", "cat", "dog"]
    assert np.unique(labels(two / "out")["a"]).tolist() == [0, 1, 2]


def test_classes_in_an_order_of_ones_own(two):
    convert_labelme(two / "in", two / "out", classes=["dog", "cat"], val_share=0)
    assert labels(two / "out")["a"][0, 0] == 0
    with pytest.raises(DataError, match=r"a\.json.*'cat'"):
        convert_labelme(two / "in", two / "other", classes=["dog", "cow"])


def test_the_validation_set_depends_on_names_and_seed_alone(tmp_path):
    for i in range(20):
        labelme(tmp_path / "in", f"i{i}", [shape("dog", square(0, 0, 2, 2))])
    chosen = []
    for number, seed in enumerate((0, 0, 1)):
        out = tmp_path / f"out{number}"
        assert convert_labelme(tmp_path / "in", out, val_share=0.2, seed=seed) == {"train": 16, "val": 4}
        chosen.append(sorted(f.name for f in (out / "images" / "val").iterdir()))
    assert chosen[0] == chosen[1] != chosen[2]


def test_an_earlier_conversion_in_the_folder_spoils_nothing(tmp_path):
    for name in "abcdefgh":
        labelme(tmp_path / "in", name, [shape("cat", square(0, 0, 2, 2))])
    labelme(tmp_path / "more", "z", [shape("cat", square(0, 0, 2, 2))])
    labelme(tmp_path / "other", "y", [shape("ant", square(0, 0, 2, 2))])
    out = tmp_path / "out"
    for folder in ("in", "in", "more"):  # once more, and another folder with the same classes
        convert_labelme(tmp_path / folder, out, val_share=0.25)
    before = {f: f.read_bytes() for f in out.rglob("*") if f.is_file()}
    with pytest.raises(ConfigError, match=r"images that are now for (val|train) lie in images/.*would share them"):
        convert_labelme(tmp_path / "in", out, val_share=0.75)
    with pytest.raises(ConfigError, match=r"labels of other images, such as 'a', with the classes .* these are ant"):
        convert_labelme(tmp_path / "other", out)
    assert {f: f.read_bytes() for f in out.rglob("*") if f.is_file()} == before


def test_images_are_linked_or_copied(two):
    convert_labelme(two / "in", two / "linked", link=True, val_share=0)
    convert_labelme(two / "in", two / "copied", val_share=0)
    linked, copied = (two / name / "images" / "train" / "a.png" for name in ("linked", "copied"))
    assert linked.is_symlink() and not copied.is_symlink() and copied.read_bytes() == linked.read_bytes()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: (f / "a.json").write_text("{"), r"a\.json.*no LabelMe file"),
        (lambda f: (f / "a.json").write_text("[]"), r"a\.json.*no LabelMe file"),
        (lambda f: (f / "a.png").unlink(), r"1 of 2 annotated images.*a\.png"),
        (lambda f: labelme(f, "a", [shape("dog", [[1, 1], [3, 3]], "line")]), "drawn as a line.*polygon"),
        (lambda f: labelme(f, "a", [shape("dog", [[1, 1]])]), "points of dog"),
        (lambda f: picture(f / "c", "a.png") or labelme(f / "c", "a", []), "have one name"),
    ],
)
def test_what_is_wrong_with_labelme_files_is_named(two, damage, said):
    damage(two / "in")
    with pytest.raises(DataError, match=said):
        convert_labelme(two / "in", two / "out")


def coco(folder, things):
    picture(folder / "img", "a.png")
    content = dict(
        images=[dict(id=7, file_name="a.png", width=WIDTH, height=HEIGHT)],
        categories=[dict(id=30, name="dog"), dict(id=4, name="cat")],
        annotations=[dict(image_id=7, **thing) for thing in things],
    )
    (folder / "all.json").write_text(json.dumps(content))
    return folder / "all.json", folder / "img"


def flat(points):
    return [number for point in points for number in point]


def test_coco_draws_small_things_over_large_ones(tmp_path):
    small = dict(category_id=4, area=4, segmentation=[flat(square(1, 1, 2, 2))])
    large = dict(category_id=30, area=30, segmentation=[flat(square(0, 0, 4, 4)), flat(square(6, 0, 7, 5))])
    convert_coco(*coco(tmp_path, [small, large]), tmp_path / "out", val_share=0)
    expected = np.full((HEIGHT, WIDTH), 255)
    expected[0:5, 0:5] = expected[0:6, 6:8] = 1
    expected[1:3, 1:3] = 0
    assert np.array_equal(labels(tmp_path / "out")["a"], expected)
    assert (tmp_path / "out" / "classes.txt").read_text().split() == ["cat", "dog"]


def test_coco_run_lengths_need_pycocotools(tmp_path, monkeypatch):
    counts = [HEIGHT * 2, HEIGHT, HEIGHT * (WIDTH - 3)]  # column by column: the third is set
    thing = dict(category_id=4, area=6, segmentation=dict(size=[HEIGHT, WIDTH], counts=counts))
    arguments = coco(tmp_path, [thing])
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(ConfigError, match="pip install pycocotools"):
        convert_coco(*arguments, tmp_path / "out")
    monkeypatch.undo()
    pytest.importorskip("pycocotools", reason="reads run lengths")
    convert_coco(*arguments, tmp_path / "out", background="ground", val_share=0)
    assert labels(tmp_path / "out")["a"].any(0).tolist() == [False, False, True, *[False] * 5]


def test_a_file_that_is_not_coco(tmp_path):
    (tmp_path / "x.json").write_text('{"images": []}')
    with pytest.raises(DataError, match=r"x\.json.*no COCO file"):
        convert_coco(tmp_path / "x.json", tmp_path, tmp_path / "out")
    with pytest.raises(DataError, match=r"y\.json' cannot be read: No such file"):
        convert_coco(tmp_path / "y.json", tmp_path, tmp_path / "out")


COLOURS = {"road": (128, 64, 128), "sky": (70, 130, 180)}


@pytest.fixture
def coloured(tmp_path):
    picture(tmp_path / "img", "a.jpg")
    label = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    label[:3], label[3:5] = COLOURS["sky"], COLOURS["road"]
    (tmp_path / "ann").mkdir()
    Image.fromarray(label).save(tmp_path / "ann" / "a.png")
    return tmp_path


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA"])
def test_colours(coloured, mode):
    file = coloured / "ann" / "a.png"
    Image.open(file).convert(mode, palette=Image.Palette.ADAPTIVE).save(file)
    arguments = (coloured / "img", coloured / "ann", coloured / "out", COLOURS)
    assert convert_colours(*arguments, unlabelled=[(0, 0, 0)], val_share=0) == {"train": 1, "val": 0}
    assert labels(coloured / "out")["a"][:, 0].tolist() == [1, 1, 1, 0, 0, 255]


def test_a_colour_that_is_no_class_is_named(coloured):
    with pytest.raises(DataError, match=r"^1 of 1 files could not be converted: .*1 colour .* no class: \(0, 0, 0\)"):
        convert_colours(coloured / "img", coloured / "ann", coloured / "out", COLOURS)
    with pytest.raises(ConfigError, match="of another class"):
        convert_colours(coloured / "img", coloured / "ann", coloured / "out", {**COLOURS, "air": COLOURS["sky"]})
    (coloured / "ann" / "a.png").unlink()
    with pytest.raises(DataError, match=r"1 of 1 images have no label image.*a\.jpg"):
        convert_colours(coloured / "img", coloured / "ann", coloured / "out", COLOURS)


def test_the_tool(coloured):
    (coloured / "colours.txt").write_text("# name and colour\nroad 128 64 128\nblue sky 70 130 180\n")
    assert read_colours(coloured / "colours.txt") == {"road": (128, 64, 128), "blue sky": (70, 130, 180)}
    command = [sys.executable, TOOL, "colours", "img", "ann", "colours.txt", "--unlabelled", "0,0,0", "--out", "an out"]
    done = subprocess.run(command, cwd=coloured, capture_output=True, text=True)
    assert done.returncode == 0 and "out: 1 in train, 0 in val" in done.stdout, done.stderr
    assert "GCSEG_FOLDER='an out' gcseg check" in done.stdout
    (coloured / "colours.txt").write_text("road purple\n")
    done = subprocess.run(command, cwd=coloured, capture_output=True, text=True)
    assert done.returncode == 2 and "line 1" in done.stderr and "Traceback" not in done.stderr
