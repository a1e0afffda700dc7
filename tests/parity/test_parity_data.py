"""The data sets and pipelines of the recipes over made photographs."""

import copy
import random

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from parity_tools import ORACLE_CONFIGS, blobs, build, sample
from PIL import Image

from gcseg.config import load_config

RECIPES = {
    "cityscapes": "gcnet_r50-d8_4xb2-40k_cityscapes-512x1024",
    "cityscapes_769": "gcnet_r50-d8_4xb2-40k_cityscapes-769x769",
    "ade20k": "gcnet_r50-d8_4xb4-80k_ade20k-512x512",
    "voc": "gcnet_r50-d8_4xb4-20k_voc12aug-512x512",
}
CLASSES = {"cityscapes": 19, "cityscapes_769": 19, "ade20k": 150, "voc": 21}


def photograph(rng, height, width):
    """Smooth colours with noise: interpolation has something to do."""
    y, x = np.mgrid[0:height, 0:width]
    base = np.stack([np.sin(x / 17 + c) * 60 + np.cos(y / 11 - c) * 50 + 128 for c in range(3)], -1)
    return np.clip(base + rng.normal(0, 15, base.shape), 0, 255).astype(np.uint8)


SIZES = [(120, 161), (97, 203), (256, 512)]


def write(folder, name):
    """A data set of three images in the layout of ``name`` below ``folder``; returns options of the dataset."""
    rng = np.random.default_rng(7)
    listing = []
    for index, size in enumerate(SIZES):
        label = blobs(size, CLASSES[name], rng)
        if name.startswith("cityscapes"):
            stem = f"aachen/aachen_00000{index}_000019"
            image, mark = f"leftImg8bit/{{}}/{stem}_leftImg8bit.png", f"gtFine/{{}}/{stem}_gtFine_labelTrainIds.png"
            splits = ("train", "val")
        elif name == "ade20k":
            image, mark = f"images/{{}}/{index}.jpg", f"annotations/{{}}/{index}.png"
            label = np.where(label == 255, 0, label + 1)
            splits = ("training", "validation")
        else:
            image, mark, splits = f"JPEGImages/2007_{index}.jpg", f"SegmentationClass/2007_{index}.png", ("",)
            listing.append(f"2007_{index}")
        picture = photograph(rng, *size)
        for split in splits:
            for target, content in ((image, picture), (mark, label.astype(np.uint8))):
                path = folder / target.format(split)
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(content).save(path, quality=95)
    if name == "voc":
        lists = folder / "ImageSets" / "Segmentation"
        lists.mkdir(parents=True)
        for split in ("train", "val", "aug"):
            (lists / f"{split}.txt").write_text("\n".join(listing) + "\n")
        (folder / "SegmentationClassAug").mkdir()
        for path in (folder / "SegmentationClass").iterdir():
            (folder / "SegmentationClassAug" / path.name).write_bytes(path.read_bytes())
    return dict(data_root=str(folder))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}
    for name in RECIPES:
        made[name] = tmp_path_factory.mktemp(name)
        write(made[name], name)
    return made


def place(cfg, root):
    """The dataset config with its root replaced, also inside ConcatDataset."""
    cfg = copy.deepcopy(cfg)
    for item in cfg.get("datasets", [cfg]):
        item["data_root"] = str(root)
    return cfg


def dataset_pair(name, root, loader):
    theirs = Config.fromfile(ORACLE_CONFIGS / "gcnet" / f"{RECIPES[name]}.py").to_dict()[loader]["dataset"]
    ours = load_config(RECIPES[name]).to_dict()[loader]["dataset"]
    return build("ours", place(ours, root), "DATASETS"), build("oracle", place(theirs, root), "DATASETS")


def with_seed(side, dataset, index, seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope("gcseg" if side == "ours" else "mmseg"):
        return dataset[index]


def assert_same_item(mine, theirs):
    """Image, label and meta information, exactly."""
    assert torch.equal(mine["inputs"], theirs["inputs"])
    assert mine["inputs"].dtype == theirs["inputs"].dtype
    a, b = mine["data_samples"], theirs["data_samples"]
    assert ("gt_sem_seg" in a) == ("gt_sem_seg" in b)
    if "gt_sem_seg" in b:
        assert torch.equal(a.gt_sem_seg.data.long(), b.gt_sem_seg.data.long())
    missing = set(b.metainfo) - set(a.metainfo)
    assert not missing, f"meta information that only the oracle has: {missing}"
    for key, value in b.metainfo.items():
        found = a.metainfo[key]
        if key == "pad_shape":
            value = value[:2]  # the oracle's Pad notes the channels too
        same = np.array_equal(np.asarray(found, dtype=object), np.asarray(value, dtype=object))
        assert same or found == value, f"{key}: {found} against {value}"


@pytest.mark.parametrize("name", RECIPES)
def test_evaluation(name, folders):
    """Test data set and pipeline: the same files in the same order, the same bytes."""
    ours, oracle = dataset_pair(name, folders[name], "val_dataloader")
    assert len(ours) == len(oracle) == 3
    assert tuple(ours.metainfo["classes"]) == tuple(oracle.metainfo["classes"])
    assert [list(c) for c in ours.metainfo["palette"]] == [list(c) for c in oracle.metainfo["palette"]]
    for index in range(3):
        mine, theirs = (with_seed(s, d, index, 0) for s, d in (("ours", ours), ("oracle", oracle)))
        assert_same_item(mine, theirs)


@pytest.mark.parametrize("name", RECIPES)
def test_multi_scale_and_flip_views(name, folders):
    """TestTimeAug of the recipes: 12 views of an image."""
    found = {}
    for side in ("ours", "oracle"):
        if side == "ours":
            config = load_config(RECIPES[name]).to_dict()
        else:
            config = Config.fromfile(ORACLE_CONFIGS / "gcnet" / f"{RECIPES[name]}.py").to_dict()
        cfg = place(config["val_dataloader"]["dataset"], folders[name])
        cfg["pipeline"] = config["tta_pipeline"]
        found[side] = with_seed(side, build(side, cfg, "DATASETS"), 1, 0)
    assert len(found["oracle"]["inputs"]) == 12
    assert len(found["ours"]["inputs"]) == 12
    for index in range(12):
        assert_same_item(
            *({key: found[s][key][index] for key in ("inputs", "data_samples")} for s in ("ours", "oracle"))
        )


@pytest.mark.parametrize("name", RECIPES)
def test_training(name, folders):
    """Random transforms draw the same numbers in the same order from the global generators."""
    ours, oracle = dataset_pair(name, folders[name], "train_dataloader")
    assert len(ours) == len(oracle) >= 3
    for seed in range(4):
        mine, theirs = (with_seed(s, d, seed % 3, seed) for s, d in (("ours", ours), ("oracle", oracle)))
        assert_same_item(mine, theirs)


def test_fewer_classes(folders):
    """A metainfo with some of the classes, in another order: the label map and the colours."""
    found = {}
    for side in ("ours", "oracle"):
        cfg = dict(
            type="CityscapesDataset",
            data_root=str(folders["cityscapes"]),
            data_prefix=dict(img_path="leftImg8bit/val", seg_map_path="gtFine/val"),
            metainfo=dict(classes=("car", "road", "sky")),
            pipeline=[dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"), dict(type="PackSegInputs")],
        )
        found[side] = build(side, cfg, "DATASETS")
    assert found["ours"].label_map == found["oracle"].label_map
    assert [list(c) for c in found["ours"].metainfo["palette"]] == [
        list(c) for c in found["oracle"].metainfo["palette"]
    ]
    for index in range(3):
        assert_same_item(*(with_seed(side, found[side], index, 0) for side in ("ours", "oracle")))


PREPROCESSORS = {
    "train_size": (dict(size=(200, 220)), True),
    "train_divisor": (dict(size_divisor=32), True),
    "test_plain": (dict(size=(200, 220)), False),
    "test_size": (dict(size=(200, 220), test_cfg=dict(size=(300, 256))), False),
    "test_divisor": (dict(size_divisor=16, test_cfg=dict(size_divisor=32)), False),
}


@pytest.mark.parametrize("name", PREPROCESSORS)
def test_preprocessor(name):
    """Normalised and padded images, padded labels, and what is noted about the padding."""
    options, training = PREPROCESSORS[name]
    cfg = dict(
        type="SegDataPreProcessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True,
        pad_val=0, seg_pad_val=255, **options,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    sizes = [(150, 200), (140, 210)] if training else [(150, 200)] * 2
    images = [torch.as_tensor(rng.integers(0, 256, (3, *size)), dtype=torch.uint8) for size in sizes]
    labels = [blobs(size, 5, rng) for size in sizes]
    found = {}
    for side in ("ours", "oracle"):
        samples = [sample(side, mark, ori_shape=s, img_shape=s) for mark, s in zip(labels, sizes, strict=True)]
        found[side] = build(side, cfg)(dict(inputs=list(images), data_samples=samples), training)
    assert torch.equal(found["ours"]["inputs"], found["oracle"]["inputs"])
    for mine, theirs in zip(found["ours"]["data_samples"], found["oracle"]["data_samples"], strict=True):
        assert torch.equal(mine.gt_sem_seg.data, theirs.gt_sem_seg.data)
        for key, value in theirs.metainfo.items():
            assert tuple(mine.metainfo[key]) == tuple(value), key
