"""The layout of :class:`~gcseg.datasets.FolderDataset`, written from annotations of any kind."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from gcseg.datasets.converters._work import for_each, write_label, write_lines
from gcseg.utils.atomic import new_file
from gcseg.utils.errors import ConfigError, DataError

IGNORED = 255


@dataclass(frozen=True)
class Annotated:
    """An image and how to make its label.

    Attributes:
        image: the file.
        draw: makes the label, (H, W) uint8; can be pickled.
    """

    image: Path
    draw: Callable[[], np.ndarray]


def write_folder(
    items: Sequence[Annotated],
    classes: Sequence[str],
    out: str | os.PathLike,
    val_share: float = 0.1,
    seed: int = 0,
    link: bool = False,
    nproc: int = 1,
) -> dict[str, int]:
    """Write ``images/{train,val}``, ``labels/{train,val}`` and ``classes.txt``.

    Which images are for validation depends on their names and ``seed`` alone, so that images that are added later do
    not move the others much.

    Args:
        items: images with their annotations.
        classes: names in the order of their labels.
        out: the folder; it is made.
        val_share: share of the images that validation gets, 0 to below 1; at least one of two or more unless it is 0.
        seed: draws another validation set.
        link: link the images instead of copying them.
        nproc: number of processes.

    Returns:
        Number of images in each split.

    Raises:
        DataError: images of one name, or annotations that cannot be used; names them.
        ConfigError: an impossible share, too many classes, or a folder that an earlier conversion filled otherwise.
    """
    if not 0 <= val_share < 1:
        raise ConfigError(f"val_share: received {val_share}, allowed are 0 to below 1, such as 0.1")
    if not 0 < len(classes) <= IGNORED:
        raise ConfigError(f"{len(classes)} classes: allowed are 1 to {IGNORED}, since {IGNORED} means unlabelled")
    names: dict[str, Path] = {}
    for item in items:
        other = names.setdefault(item.image.stem, item.image)
        if other != item.image:
            raise DataError(
                f"{str(other)!r} and {str(item.image)!r} have one name and would have one label; rename one"
            )
    order = sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
    number = max(round(val_share * len(order)), int(val_share > 0 and len(order) > 1))
    validation = set(order[:number])
    root = Path(out)
    splits = {name: "val" if name in validation else "train" for name in names}
    _check_earlier(root, splits, classes)
    write_lines(list(classes), root / "classes.txt")
    work = [(item, splits[item.image.stem]) for item in items]
    for_each(partial(_write_one, root=root, link=link), work, nproc, f"labels in {root}")
    return {"train": len(order) - number, "val": number}


def _check_earlier(root: Path, splits: Mapping[str, str], classes: Sequence[str]) -> None:
    """Refuse a folder in which an earlier conversion, of other images or to another share, would spoil this one."""
    there = {split: {f.stem for f in root.glob(f"images/{split}/*")} for split in ("train", "val")}
    for split, names in there.items():
        moved = sorted(name for name in names if splits.get(name, split) != split)
        if moved:
            raise ConfigError(
                f"{root}: {len(moved)} images that are now for {splits[moved[0]]} lie in images/{split}, such as "
                f"{moved[0]!r}, so that training and validation would share them; remove images and labels there, or "
                "give another folder by --out"
            )
    others = sorted(set().union(*there.values()) - splits.keys())
    file = root / "classes.txt"
    lines = file.read_text(encoding="utf-8-sig").splitlines() if others and file.is_file() else list(classes)
    if [line.strip() for line in lines if line.strip()] != list(classes):
        raise ConfigError(
            f"{root}: holds labels of other images, such as {others[0]!r}, with the classes of {file}, and these are "
            f"{', '.join(classes)}; give another folder by --out, or all annotations at once"
        )


def _write_one(work: tuple[Annotated, str], root: Path, link: bool) -> None:
    item, split = work
    label = item.draw()
    image = root / "images" / split / item.image.name
    image.parent.mkdir(parents=True, exist_ok=True)
    if link:
        image.unlink(missing_ok=True)
        image.symlink_to(item.image.resolve())
    else:
        with open(item.image, "rb") as source, new_file(image) as target:
            shutil.copyfileobj(source, target)
    write_label(label, root / "labels" / split / f"{item.image.stem}.png")
