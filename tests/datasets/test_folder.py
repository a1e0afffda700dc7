"""The plain folder data set: where it looks, how it pairs names, what it says when it finds nothing."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gcseg.datasets import BaseSegDataset, FolderDataset
from gcseg.datasets.folder import match_names
from gcseg.registry import DATASETS
from gcseg.utils.errors import ConfigError, DataError

STEPS = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations")]


def folder(root: str, **options) -> FolderDataset:
    """The data set without mmengine's shared array, whose garbage collection takes a second."""
    return FolderDataset(root, serialize_data=False, **options)


def write(root: Path, images, labels, image_dir="images/train", label_dir="labels/train", classes="rust\nbolt\n"):
    """Grey images and label maps of the given names; the n-th label is filled with n % 2."""
    for place, names in ((root / image_dir, images), (root / label_dir, labels)):
        place.mkdir(parents=True, exist_ok=True)
        for number, name in enumerate(names):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shape = (4, 6, 3) if place.parent.name.startswith("im") or place.name.startswith("im") else (4, 6)
            Image.fromarray(np.full(shape, number % 2, np.uint8)).save(place / name)
    if classes is not None:
        (root / "classes.txt").write_text(classes)
    return str(root)


def pairs(dataset):
    return [
        (Path(i["img_path"]).name, Path(i["seg_map_path"]).name)
        for i in map(dataset.get_data_info, range(len(dataset)))
    ]


def test_plain_names_mixed_endings_and_sub_folders(tmp_path):
    root = write(tmp_path, ["b.jpg", "a.png", "day/c.JPG"], ["b.png", "a.bmp", "day/c.png"])
    dataset = folder(root, pipeline=STEPS)
    assert pairs(dataset) == [("a.png", "a.bmp"), ("b.jpg", "b.png"), ("c.JPG", "c.png")]
    assert dataset.metainfo["classes"] == ["rust", "bolt"] and len(dataset.metainfo["palette"]) == 2
    assert dataset[0]["gt_seg_map"].tolist() == [[1] * 6] * 4
    assert dataset[0]["img"].shape == (4, 6, 3)


@pytest.mark.parametrize(
    ("image_dir", "label_dir"), [("images/val", "masks/val"), ("val/imgs", "val/annotations"), ("images", "labels")]
)
def test_where_it_looks(tmp_path, image_dir, label_dir):
    root = write(tmp_path, ["a.jpg"], ["a.png"], image_dir, label_dir)
    assert pairs(folder(root, split="" if image_dir == "images" else "val")) == [("a.jpg", "a.png")]


def test_folders_by_name_and_without_labels(tmp_path):
    root = write(tmp_path, ["a.jpg", "b.jpg"], ["a.png", "b.png"], "imagery", "truth")
    both = folder(root, data_prefix=dict(img_path="imagery", seg_map_path="truth"))
    assert pairs(both) == [("a.jpg", "a.png"), ("b.jpg", "b.png")]
    alone = folder(root, data_prefix=dict(img_path="imagery"))
    assert "seg_map_path" not in alone.get_data_info(0) and len(alone) == 2


@pytest.mark.parametrize(
    ("images", "labels", "expected"),
    [
        (["1", "2"], ["1", "2"], {"1": "1", "2": "2"}),
        (["1", "2"], ["1_mask", "2_mask"], {"1": "1_mask", "2": "2_mask"}),
        (["f_1", "f_1_2"], ["f_1_L", "f_1_2_L"], {"f_1": "f_1_L", "f_1_2": "f_1_2_L"}),
        (["x/1_rgb", "y/1_rgb"], ["x/1_gt_ids", "y/1_gt_ids"], {"x/1_rgb": "x/1_gt_ids", "y/1_rgb": "y/1_gt_ids"}),
        (["1-rgb", "2-rgb"], ["1", "2", "3"], {"1-rgb": "1", "2-rgb": "2"}),
        (["7_rgb"], ["7_mask"], {"7_rgb": "7_mask"}),
        (["1", "2", "3"], ["1", "2"], {"1": "1", "2": "2"}),
        (["a"], ["b"], {}),
        (["1_mask"], ["1_mask", "2_mask"], {"1_mask": "1_mask"}),
    ],
)
def test_pairs_of_names(images, labels, expected):
    assert match_names(images, labels) == expected


def test_list_of_images(tmp_path):
    root = write(tmp_path, ["a.jpg", "b.png", "c.jpg"], ["a.png", "b.png", "c.png"])
    (tmp_path / "some.txt").write_text("c\nb\n")
    assert pairs(folder(root, ann_file="some.txt")) == [("c.jpg", "c.png"), ("b.png", "b.png")]


def test_classes_from_a_list_a_file_and_metainfo(tmp_path):
    root = write(tmp_path, ["a.jpg"], ["a.png"], classes="# names\n\nsky\n")
    (tmp_path / "other.txt").write_text("one\ntwo\n")
    assert folder(root).metainfo["classes"] == ["sky"]
    assert folder(root, classes=("p", "q")).metainfo["classes"] == ["p", "q"]
    assert folder(root, classes="other.txt").metainfo["classes"] == ["one", "two"]
    assert folder(root, classes=str(tmp_path / "other.txt")).metainfo["classes"] == ["one", "two"]
    meta = dict(classes=["m"], palette=[[1, 2, 3]])
    assert folder(root, metainfo=meta).metainfo["palette"] == [[1, 2, 3]]
    with pytest.raises(ConfigError, match="both given"):
        folder(root, classes=["p"], metainfo=meta)
    with pytest.raises(ConfigError, match=r"nope\.txt.*one class name a line"):
        folder(root, classes="nope.txt")
    (tmp_path / "classes.txt").write_text("\n")
    with pytest.raises(ConfigError, match="no class name"):
        folder(root)


def test_no_classes(tmp_path):
    root = write(tmp_path, ["a.jpg"], ["a.png"], classes=None)
    with pytest.raises(ConfigError, match=r"no classes given.*classes\.txt"):
        folder(root)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (
            ["a.jpg", "street.jpg"],
            ["a.png", "streets.png"],
            r"1 of 2 images.*'street\.jpg'; the nearest .*'streets\.png'",
        ),
        (["a.jpg", "a.png"], ["a.png"], "have one name"),
        ([], ["a.png"], r"images/train'.* is empty"),
        (["a.jpg"], ["a.txt.npz.png.jpg"], r"no file in .*labels/train.*1 file \(1 \.jpg"),
    ],
)
def test_faults_name_what_was_found(tmp_path, images, labels, message):
    root = write(tmp_path, images, labels)
    with pytest.raises(DataError, match=message):
        folder(root)


def test_the_users_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    root = write(tmp_path / "rust", ["a.jpg"], ["a.png"])
    assert folder("~/rust").get_data_info(0)["img_path"] == f"{root}/images/train/a.jpg"
    plain = BaseSegDataset(data_root="~/rust", data_prefix=dict(img_path="images/train", seg_map_path="labels/train"))
    assert plain.get_data_info(0)["seg_map_path"] == f"{root}/labels/train/a.png"


def test_wrong_root_and_split(tmp_path):
    root = write(tmp_path, ["a.jpg"], ["a.png"])
    with pytest.raises(DataError, match=r"no folder with images of split 'val'.*holds 'images/', 'labels/'"):
        folder(root, split="val")
    with pytest.raises(DataError, match=r"does not exist; the nearest existing parent.* variable GCSEG_FOLDER"):
        folder(root + "/nowhere")
    with pytest.raises(DataError, match=r"the folder of the labels .* does not exist"):
        folder(root, data_prefix=dict(img_path="images/train", seg_map_path="truth"))


def test_images_and_labels_in_one_folder(tmp_path):
    root = write(tmp_path, ["a.jpg"], ["a.png"], "all", "all")
    prefix = dict(img_path="all", seg_map_path="all")
    with pytest.raises(ConfigError, match="both in"):
        folder(root, data_prefix=prefix)
    assert pairs(folder(root, data_prefix=prefix, img_suffix=".jpg")) == [("a.jpg", "a.png")]


def test_built_by_name_and_from_the_recipe(tmp_path, monkeypatch):
    from mmengine import Config

    from gcseg.config import configs_dir

    root = write(tmp_path, ["a.jpg"], ["a.png"])
    assert isinstance(DATASETS.build(dict(type="FolderDataset", data_root=root)), FolderDataset)
    monkeypatch.setenv("GCSEG_FOLDER", root)
    cfg = Config.fromfile(configs_dir() / "_base_/datasets/folder.py")
    assert len(DATASETS.build(cfg.train_dataloader.dataset)) == 1
    assert cfg.val_dataloader.dataset.split == "val"
