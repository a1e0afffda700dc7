"""SBD .mat files to PNG and the lists of VOC + aug, on a tiny VOC and a tiny SBD made here."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from gcseg.datasets.converters import convert_voc_aug
from gcseg.datasets.converters import voc_aug as module
from gcseg.utils.errors import DataError

LABELS = {name: np.full((3, 4), number, np.uint8) for number, name in enumerate(("a", "b", "c", "d", "e"), 16)}


@pytest.fixture
def voc(tmp_path, monkeypatch):
    """VOC train: a, x; val: b, y. SBD train: a, b, c; val: d, e. So trainaug: a, c, d, e, x; aug: c, d, e."""
    lists = tmp_path / "VOCdevkit/VOC2012/ImageSets/Segmentation"
    sbd = tmp_path / "VOCaug/dataset"
    (sbd / "cls").mkdir(parents=True)
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\nx\n")
    (lists / "val.txt").write_text("b\ny\n")
    (sbd / "train.txt").write_text("c\nb\na\n")
    (sbd / "val.txt").write_text("e\nd\n")
    for name, label in LABELS.items():
        label = label.copy()
        label[0, 0] = 0
        savemat(sbd / "cls" / f"{name}.mat", {"GTcls": {"Segmentation": label, "Boundaries": 0}})
    monkeypatch.setattr(module, "TRAINAUG_IMAGES", 5)
    return tmp_path / "VOCdevkit", tmp_path / "VOCaug"


def test_labels_and_lists(voc):
    assert convert_voc_aug(*voc) == {"labels": 5, "trainaug": 5, "aug": 3}
    lists = voc[0] / "VOC2012/ImageSets/Segmentation"
    assert (lists / "trainaug.txt").read_text() == "a\nc\nd\ne\nx\n"
    assert (lists / "aug.txt").read_text() == "c\nd\ne\n"
    for name, label in LABELS.items():
        image = Image.open(voc[0] / f"VOC2012/SegmentationClassAug/{name}.png")
        assert image.mode == "L" and np.array(image)[0, 0] == 0
        assert np.array_equal(np.array(image).ravel()[1:], label.ravel()[1:])


def test_other_folder_and_several_processes(voc, tmp_path):
    convert_voc_aug(*voc, out_dir=tmp_path / "out", nproc=2)
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == ["a.png", "b.png", "c.png", "d.png", "e.png"]
    assert not (voc[0] / "VOC2012/SegmentationClassAug").exists()


@pytest.mark.parametrize("damage", ["torn", "other", "empty"])
def test_a_damaged_mat_is_named(voc, damage):
    file = voc[1] / "dataset/cls/c.mat"
    if damage == "torn":
        file.write_bytes(file.read_bytes()[:150])
    elif damage == "other":
        savemat(file, {"GTinst": 1})
    else:
        file.write_bytes(b"")
    with pytest.raises(DataError, match=r"1 of 5 files .*cls/c\.mat' is no SBD annotation or is damaged") as caught:
        convert_voc_aug(*voc)
    assert "\n" not in str(caught.value)
    assert len(list((voc[0] / "VOC2012/SegmentationClassAug").iterdir())) == 4
    assert not (voc[0] / "VOC2012/ImageSets/Segmentation/trainaug.txt").exists()


def test_incomplete_archives(voc, monkeypatch):
    monkeypatch.setattr(module, "TRAINAUG_IMAGES", 10582)
    with pytest.warns(UserWarning, match="has 5 images; .* 10582"):
        convert_voc_aug(*voc)
    (voc[1] / "dataset/cls/d.mat").unlink()
    with pytest.raises(DataError, match=r"1 images .* no \.mat file in cls/, the first is 'd'"):
        convert_voc_aug(*voc)


def test_wrong_folders(voc, tmp_path):
    with pytest.raises(
        DataError, match=r"there is no list .*nowhere/VOC2012.*train\.txt'; the nearest existing parent"
    ):
        convert_voc_aug(tmp_path / "nowhere", voc[1])
    for file in (voc[1] / "dataset/cls").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"no \.mat file in .*is empty"):
        convert_voc_aug(*voc)


def test_tool(voc, capsys):
    file = Path(__file__).parents[3] / "tools/dataset_converters/voc_aug.py"
    spec = importlib.util.spec_from_file_location("converter_voc_aug", file)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.main([str(path) for path in voc]) == 0
    assert "5 labels, 5 images in trainaug.txt, 3 in aug.txt" in capsys.readouterr().out
    assert tool.main([str(voc[0]), str(voc[0])]) == 2
    assert "gcseg: error: there is no list" in capsys.readouterr().err
