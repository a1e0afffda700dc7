"""Tiny data sets, drawn anew for each test."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def write_pairs(root: Path, number: int = 4, size=(24, 36), num_classes: int = 5, image_suffix=".png") -> Path:
    """Blocky images and labels of height, width ``size`` in root/images and root/labels, named 0, 1, ..."""
    rng = np.random.default_rng(0)
    (root / "images").mkdir(parents=True, exist_ok=True)
    (root / "labels").mkdir(parents=True, exist_ok=True)
    for index in range(number):
        blocks = rng.integers(0, num_classes, (size[0] // 4, size[1] // 4), dtype=np.uint8)
        label = blocks.repeat(4, axis=0).repeat(4, axis=1)
        noise = rng.integers(0, 60, (*label.shape, 3), dtype=np.uint8)
        Image.fromarray(noise + (label * 30)[:, :, None]).save(root / "images" / f"{index}{image_suffix}")
        Image.fromarray(label).save(root / "labels" / f"{index}.png")
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four pairs of 24x36 with labels 0 to 4."""
    return write_pairs(tmp_path / "data")


@pytest.fixture
def eight(tmp_path: Path) -> Path:
    """Eight of them."""
    return write_pairs(tmp_path / "data", 8)


@pytest.fixture
def camvid() -> str:
    """The folder of the real CamVid files."""
    beside = Path(__file__).resolve().parents[3] / "shared/data/camvid"
    folder = os.environ.get("GCSEG_CAMVID", str(beside))
    if not os.path.isdir(os.path.join(folder, "images", "train")):
        pytest.skip("CamVid is not here: set the environment variable GCSEG_CAMVID to its folder")
    return folder
