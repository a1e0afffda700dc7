"""A data set of two splits and its config, to be damaged file by file."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import tiny_run as tiny_run_files
from PIL import Image

TOOLS = Path(__file__).parents[2] / "tools" / "analysis_tools"

CONFIG = """
load = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations")]
classes = ("left", "right", "odd")
palette = [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
train_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(
    type="BaseSegDataset", data_root="{root}", metainfo=dict(classes=classes, palette=palette), pipeline=load,
    data_prefix=dict(img_path="img/train", seg_map_path="ann/train")))
val_dataloader = dict(batch_size=1, num_workers=0, dataset=dict(
    type="BaseSegDataset", data_root="{root}", metainfo=dict(classes=classes, palette=palette), pipeline=load,
    data_prefix=dict(img_path="img/val", seg_map_path="ann/val")))
"""
SIZE = (40, 48)


class Folder:
    """``root`` with img/{train,val}/*.jpg, ann/{train,val}/*.png, and the config ``root/config.py``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        rng = np.random.default_rng(0)
        for split, number in (("train", 6), ("val", 3)):
            for kind in ("img", "ann"):
                (root / kind / split).mkdir(parents=True)
            for i in range(number):
                label = np.zeros(SIZE, np.uint8)
                label[:, 24:] = 1
                label[10:20, 5:40] = 2
                label[:2] = 255
                photo = rng.integers(0, 80, (*SIZE, 3)) + 60 * label.clip(max=2)[..., None]
                self.image(split, i, photo.astype(np.uint8))
                self.label(split, i, label)
        self.config = root / "config.py"
        self.config.write_text(CONFIG.replace("{root}", str(root)))

    def image_path(self, split: str, i: int) -> Path:
        return self.root / f"img/{split}/{split}{i}.jpg"

    def label_path(self, split: str, i: int) -> Path:
        return self.root / f"ann/{split}/{split}{i}.png"

    def image(self, split: str, i: int, array: np.ndarray, **how) -> Path:
        path = self.image_path(split, i)
        Image.fromarray(array).save(path, **how)
        return path

    def label(self, split: str, i: int, array: np.ndarray | Image.Image, **how) -> Path:
        path = self.label_path(split, i)
        picture = array if isinstance(array, Image.Image) else Image.fromarray(array)
        picture.save(path, **{"format": "PNG", **how})
        return path

    def read_label(self, split: str, i: int) -> np.ndarray:
        return np.array(Image.open(self.label_path(split, i)))

    def relabel(self, split: str, change) -> None:
        """Write every label of a split again, as ``change`` of what it is."""
        for path in sorted((self.root / "ann" / split).iterdir()):
            Image.fromarray(change(np.array(Image.open(path)))).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "data")


@pytest.fixture
def tiny_run(tmp_path: Path) -> Path:
    """A config file that can be trained and tested; see tests/tiny_run.py."""
    return tiny_run_files.write(tmp_path / "tiny")


@pytest.fixture
def run_tool():
    """Call the ``main`` of a script in tools/analysis_tools: ``run_tool(name, *arguments)`` -> exit code."""

    def call(name: str, *arguments: object) -> int:
        main = runpy.run_path(str(TOOLS / f"{name}.py"))["main"]
        return main([str(a) for a in arguments])

    return call
