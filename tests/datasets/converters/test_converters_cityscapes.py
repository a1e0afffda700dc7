"""Cityscapes polygons and label ids to train ids, on annotations drawn here."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gcseg.datasets.converters import convert_cityscapes
from gcseg.datasets.converters.cityscapes import TRAIN_IDS, train_id
from gcseg.metainfo import CITYSCAPES, CITYSCAPES_LABELS
from gcseg.utils.errors import ConfigError, DataError

# The published numbers of the 19 evaluated classes, in the order of their train ids.
EVALUATED_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)


def box(label, left, top, right, bottom, **more):
    """An object that covers the pixels from (left, top) to (right, bottom), both included."""
    return dict(label=label, polygon=[[left, top], [right, top], [right, bottom], [left, bottom]], **more)


def annotate(root: Path, split: str, city: str, number: int, objects, size=(4, 8)):
    folder = root / "gtFine" / split / city
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{city}_{number:06d}_000019_gtFine_polygons.json"
    file.write_text(json.dumps(dict(imgHeight=size[0], imgWidth=size[1], objects=objects)))
    return file.with_name(file.name.replace("_polygons.json", "_labelTrainIds.png"))


def tool(*args):
    file = Path(__file__).parents[3] / "tools/dataset_converters/cityscapes.py"
    spec = importlib.util.spec_from_file_location("converter_cityscapes", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main([str(a) for a in args])


def test_numbers_are_the_published_ones():
    assert [CITYSCAPES_LABELS[i] for i in EVALUATED_IDS] == list(CITYSCAPES["classes"])
    assert [TRAIN_IDS[CITYSCAPES_LABELS[i]] for i in EVALUATED_IDS] == list(range(19))
    assert len(CITYSCAPES_LABELS) == 34 and sum(v == 255 for v in TRAIN_IDS.values()) == 34 - 19


def test_groups_and_what_is_not_drawn():
    assert (train_id("persongroup"), train_id("polegroup"), train_id("license plate")) == (11, 255, None)
    with pytest.raises(DataError, match="'peron'.*'person'"):
        train_id("peron")


def test_polygons(tmp_path):
    road, plate, gone = (
        box("road", 0, 2, 7, 3),
        box("license plate", 5, 1, 5, 1),
        box("sky", 0, 0, 7, 3, deleted=1),
    )
    file = annotate(tmp_path, "train", "ulm", 0, [road, box("car", 4, 1, 6, 2), plate, gone, box("bridge", 0, 3, 0, 3)])
    assert convert_cityscapes(tmp_path) == {"train": 1}
    image = Image.open(file)
    v = 255
    assert image.mode == "L" and np.array(image).tolist() == [
        [v, v, v, v, v, v, v, v],
        [v, v, v, v, 13, 13, 13, v],
        [0, 0, 0, 0, 13, 13, 13, 0],
        [v, 0, 0, 0, 0, 0, 0, 0],
    ]


def test_lists_splits_and_processes(tmp_path):
    files = [
        annotate(tmp_path, split, city, number, [box("sky", 0, 0, 7, number)])
        for split, city, number in (("train", "ulm", 1), ("train", "aachen", 0), ("val", "bonn", 2))
    ]
    assert convert_cityscapes(tmp_path, out_dir=tmp_path / "lists", nproc=2) == {"train": 2, "val": 1}
    assert [(np.array(Image.open(f)) == 10).sum() for f in files] == [16, 8, 24]
    assert (tmp_path / "lists/train.txt").read_text() == "aachen/aachen_000000_000019\nulm/ulm_000001_000019\n"
    assert (tmp_path / "lists/val.txt").read_text() == "bonn/bonn_000002_000019\n"
    assert not (tmp_path / "lists/test.txt").exists()


def test_label_ids(tmp_path):
    folder = tmp_path / "gtFine/val/bonn"
    folder.mkdir(parents=True)
    Image.fromarray(np.arange(34, dtype=np.uint8).reshape(2, 17)).save(folder / "bonn_0_gtFine_labelIds.png")
    assert convert_cityscapes(tmp_path) == {"val": 1}
    label = np.array(Image.open(folder / "bonn_0_gtFine_labelTrainIds.png")).ravel()
    assert [int(label[i]) for i in EVALUATED_IDS] == list(range(19)) and (label == 255).sum() == 15
    assert (tmp_path / "val.txt").read_text() == "bonn/bonn_0\n"
    Image.fromarray(np.full((2, 2), 99, np.uint8)).save(folder / "bonn_1_gtFine_labelIds.png")
    with pytest.raises(DataError, match=r"1 of 2 files.*bonn_1_gtFine_labelIds\.png.*largest value 99"):
        convert_cityscapes(tmp_path)


def test_damaged_files_are_named_and_the_others_converted(tmp_path):
    good = annotate(tmp_path, "train", "ulm", 0, [box("sky", 0, 0, 7, 3)])
    bad = annotate(tmp_path, "train", "ulm", 1, [box("skyy", 0, 0, 7, 3)])
    torn = annotate(tmp_path, "train", "ulm", 2, [])
    torn.with_name(torn.name.replace("_labelTrainIds.png", "_polygons.json")).write_text('{"imgHeight": 4')
    with pytest.raises(DataError, match=r"2 of 3 files .*ulm_000001.*'skyy'.*ulm_000002.*damaged") as caught:
        convert_cityscapes(tmp_path)
    assert "\n" not in str(caught.value)
    assert (np.array(Image.open(good)) == 10).all() and not bad.exists() and not torn.exists()
    assert not list(tmp_path.rglob("*.part"))


def test_wrong_folders_and_options(tmp_path):
    with pytest.raises(DataError, match="there is no folder .*gtFine'; the nearest existing parent"):
        convert_cityscapes(tmp_path)
    (tmp_path / "gtFine").mkdir()
    with pytest.raises(DataError, match=r"ends in _polygons\.json or _labelIds\.png; it is empty"):
        convert_cityscapes(tmp_path)
    with pytest.raises(ConfigError, match="'polygon'.*'polygons'"):
        convert_cityscapes(tmp_path, source="polygon")
    annotate(tmp_path, "train", "ulm", 0, [])
    with pytest.raises(ConfigError, match="--nproc 0"):
        convert_cityscapes(tmp_path, nproc=0)


def test_tool(tmp_path, capsys):
    annotate(tmp_path, "test", "ulm", 0, [])
    assert tool(tmp_path, "--nproc", 1) == 0
    assert "1 in test" in capsys.readouterr().out
    assert tool(tmp_path / "nowhere") == 2
    assert "gcseg: error: there is no folder" in capsys.readouterr().err
