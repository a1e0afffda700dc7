"""How far colour alone, and colour with place, get on the demo data set: look-up tables counted on its training split.

    python benchmarks/demo_colour_baseline.py

Prints mIoU (percent) on val of a table over RGB, the same after the grey world correction of every picture, and a table
over RGB and the place in the picture. The demo recipe is to be compared with these.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from gcseg.datasets.demo import ensure_demo
from gcseg.metainfo import DEMO

CLASSES = len(DEMO["classes"])


def pairs(root: Path, split: str) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """Images (H, W, 3) uint8 and labels (H, W) uint8 of a split."""
    for file in sorted((root / "leftImg8bit" / split).rglob("*_leftImg8bit.png")):
        label = str(file).replace("leftImg8bit", "gtFine", 1).replace("_leftImg8bit.png", "_gtFine_labelTrainIds.png")
        yield np.asarray(Image.open(file)), np.asarray(Image.open(label))


def grey_world(image: np.ndarray) -> np.ndarray:
    """The image with every channel's mean brought to 110."""
    return np.clip(image * (110 / image.mean((0, 1))), 0, 255).astype(np.uint8)


def cells(image: np.ndarray, bins: int, place: tuple[int, int]) -> np.ndarray:
    """Number of the table's cell for every pixel: colour in ``bins`` steps per channel, place in (rows, columns)."""
    h, w = image.shape[:2]
    colour = image.astype(np.int64) * bins // 256
    index = (colour[..., 0] * bins + colour[..., 1]) * bins + colour[..., 2]
    row = np.arange(h)[:, None] * place[0] // h
    col = np.arange(w)[None] * place[1] // w
    return (index * place[0] + row) * place[1] + col


def table_miou(root: Path, bins: int, place: tuple[int, int] = (1, 1), correct: bool = False, smooth: int = 0) -> float:
    """mIoU in percent on val of the most frequent class of each cell, counted on train.

    Args:
        root: folder of the demo data set.
        bins: steps per colour channel.
        place: rows and columns the picture is divided into; (1, 1) looks at colour alone.
        correct: grey world correction first.
        smooth: weigh classes by their frequency (0) or count every class as equally frequent (1).
    """
    counts = np.zeros((bins**3 * place[0] * place[1], CLASSES), np.int64)
    for image, label in pairs(root, "train"):
        index = cells(grey_world(image) if correct else image, bins, place)[label != 255]
        np.add.at(counts, (index, label[label != 255]), 1)
    score = counts / np.maximum(counts.sum(0), 1) if smooth else counts
    best = np.where(counts.any(1), score.argmax(1), counts.sum(0).argmax())
    confusion = np.zeros((CLASSES, CLASSES), np.int64)
    for image, label in pairs(root, "val"):
        index = cells(grey_world(image) if correct else image, bins, place)[label != 255]
        np.add.at(confusion, (label[label != 255], best[index]), 1)
    inter = np.diag(confusion)
    return float(100 * np.mean(inter / (confusion.sum(0) + confusion.sum(1) - inter)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, help="folder of the demo data set; drawn when left out")
    root = parser.parse_args().root or ensure_demo()
    rows = [
        ("colour, 8 steps per channel", dict(bins=8)),
        ("colour, 16 steps per channel", dict(bins=16)),
        ("colour, 32 steps per channel", dict(bins=32)),
        ("colour, 16 steps, classes equally frequent", dict(bins=16, smooth=1)),
        ("colour, 16 steps, grey world", dict(bins=16, correct=True)),
        ("colour, 8 steps, and place, 8 x 8", dict(bins=8, place=(8, 8))),
        ("place alone, 16 x 16", dict(bins=1, place=(16, 16))),
    ]
    for name, options in rows:
        print(f"{name:45s} mIoU {table_miou(root, **options):5.1f}")


if __name__ == "__main__":
    main()
