"""Each named data set finds its own layout; CamVid also with the real files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from gcseg.datasets import ADE20KDataset, CamVidDataset, CityscapesDataset, PascalVOCDataset
from gcseg.registry import DATASETS
from gcseg.utils import DataError

CONFIG = Path(__file__).resolve().parents[2] / "configs/_base_/datasets/camvid.py"
LOAD = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}]


def pair(image: Path, label: Path, values) -> None:
    label_map = np.array(values, np.uint8)
    for path, array in ((image, np.zeros((*label_map.shape, 3), np.uint8)), (label, label_map)):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path)


def test_cityscapes(tmp_path):
    name = "ulm/ulm_000001_000019"
    pair(
        tmp_path / f"leftImg8bit/val/{name}_leftImg8bit.png",
        tmp_path / f"gtFine/val/{name}_gtFine_labelTrainIds.png",
        [[0, 18, 255]],
    )
    prefix = {"img_path": "leftImg8bit/val", "seg_map_path": "gtFine/val"}
    dataset = CityscapesDataset(data_root=str(tmp_path), data_prefix=prefix, pipeline=LOAD, test_mode=True)
    assert len(dataset) == 1 and dataset[0]["gt_seg_map"].tolist() == [[0, 18, 255]]
    assert len(dataset.metainfo["classes"]) == 19 and dataset.metainfo["reduce_zero_label"] is False


def test_ade20k_leaves_out_label_0(tmp_path):
    pair(tmp_path / "images/training/ADE_1.jpg", tmp_path / "annotations/training/ADE_1.png", [[0, 1, 150]])
    prefix = {"img_path": "images/training", "seg_map_path": "annotations/training"}
    dataset = ADE20KDataset(data_root=str(tmp_path), data_prefix=prefix, pipeline=LOAD)
    assert dataset[0]["gt_seg_map"].tolist() == [[255, 0, 149]] and dataset.metainfo["reduce_zero_label"] is True


def test_voc_needs_its_list(tmp_path):
    pair(tmp_path / "JPEGImages/2007_1.jpg", tmp_path / "SegmentationClass/2007_1.png", [[0, 20, 255]])
    Image.new("RGB", (3, 1)).save(tmp_path / "JPEGImages/2007_2.jpg")
    (tmp_path / "train.txt").write_text("2007_1\n")
    prefix = {"img_path": "JPEGImages", "seg_map_path": "SegmentationClass"}
    dataset = PascalVOCDataset("train.txt", data_root=str(tmp_path), data_prefix=prefix, pipeline=LOAD)
    assert len(dataset) == 1 and dataset[0]["gt_seg_map"].tolist() == [[0, 20, 255]]
    with pytest.raises(TypeError, match="ann_file"):
        PascalVOCDataset(data_root=str(tmp_path), data_prefix=prefix)
    with pytest.raises(DataError, match=r"'.*val\.txt' does not exist"):
        PascalVOCDataset("val.txt", data_root=str(tmp_path), data_prefix=prefix)


def test_camvid_without_void_labels_says_what_to_do(tmp_path):
    pair(tmp_path / "images/train/0.jpg", tmp_path / "annotations/train/0.png", [[0, 10, 11]])
    options = {
        "data_root": str(tmp_path),
        "data_prefix": {"img_path": "images/train", "seg_map_path": "annotations/train"},
        "pipeline": LOAD,
    }
    with pytest.raises(DataError, match=r"holds 11 on 1 pixels, but there are 11 classes.*void_labels=\[11\]"):
        CamVidDataset(**options)[0]
    assert CamVidDataset(void_labels=[11], **options)[0]["gt_seg_map"].tolist() == [[0, 10, 255]]


class TestCamVidConfig:
    @pytest.fixture
    def cfg(self, monkeypatch, tmp_path):
        monkeypatch.setenv("GCSEG_CAMVID", str(tmp_path))
        return Config.fromfile(CONFIG)

    def test_root_from_the_environment_or_beside(self, cfg, tmp_path, monkeypatch):
        assert cfg.train_dataloader.dataset.data_root == cfg.test_dataloader.dataset.data_root == str(tmp_path)
        monkeypatch.delenv("GCSEG_CAMVID")
        assert Config.fromfile(CONFIG).data_root == "data/camvid"

    def test_label_11_is_void_everywhere_from_one_place(self, cfg):
        for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
            assert loader.dataset.void_labels == [11]
        assert CONFIG.read_text().count("[11]") == 1

    def test_wrong_root(self, cfg, tmp_path):
        with pytest.raises(DataError, match="CamVidDataset: the folder of the images .* does not exist"):
            DATASETS.build(cfg.train_dataloader.dataset)


def test_real_camvid(camvid, monkeypatch):
    monkeypatch.setenv("GCSEG_CAMVID", camvid)
    cfg = Config.fromfile(CONFIG)
    train, val = (DATASETS.build(loader.dataset) for loader in (cfg.train_dataloader, cfg.val_dataloader))
    assert (len(train), len(val)) == (367, 101)
    np.random.seed(0)
    for index in (0, 183, 366):
        item = train[index]
        assert item["inputs"].shape == (3, 240, 320)
        assert set(item["data_samples"].gt_sem_seg.data.unique().tolist()) <= {*range(11), 255}
    item = val[0]
    assert item["inputs"].shape == (3, 360, 480) and item["data_samples"].gt_sem_seg.data.shape == (1, 360, 480)
    assert (item["data_samples"].gt_sem_seg.data == 255).any()
    views = DATASETS.build({**cfg.test_dataloader.dataset, "pipeline": cfg.tta_pipeline})[0]
    assert len(views["inputs"]) == 12
