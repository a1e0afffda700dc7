"""Cityscapes: the polygons (or label ids) of the archive to train ids, without the cityscapesscripts package."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from gcseg.datasets._files import contents, where_it_stops
from gcseg.datasets.converters._work import for_each, write_label, write_lines
from gcseg.metainfo import CITYSCAPES, CITYSCAPES_LABELS
from gcseg.utils.errors import ConfigError, DataError
from gcseg.utils.names import unknown_name_message

IGNORED = 255
# Not drawn: their label id is negative, or the annotators took them back.
_NOT_DRAWN = ("license plate",)
TRAIN_IDS: dict[str, int] = {
    name: CITYSCAPES["classes"].index(name) if name in CITYSCAPES["classes"] else IGNORED for name in CITYSCAPES_LABELS
}
_ENDINGS = {"polygons": "_polygons.json", "labelIds": "_labelIds.png"}


def train_id(name: str) -> int | None:
    """Train id of an annotated object; ``persongroup`` and the like count as their members, None is not drawn.

    Raises:
        DataError: no such label in Cityscapes.
    """
    if name in TRAIN_IDS:
        return TRAIN_IDS[name]
    single = name[: -len("group")] if name.endswith("group") else name
    if single in TRAIN_IDS:
        return TRAIN_IDS[single]
    if single in _NOT_DRAWN:
        return None
    raise DataError(unknown_name_message("label of Cityscapes", name, TRAIN_IDS))


def polygons_to_train_ids(file: Path) -> np.ndarray:
    """Draw the polygons of one annotation, later ones over earlier ones.

    Args:
        file: ``*_polygons.json`` with imgHeight, imgWidth and objects (label, polygon, deleted).

    Returns:
        (H, W) uint8 of train ids, 255 where there is no evaluated class.

    Raises:
        DataError: the file is damaged or not such a file; names it.
    """
    try:
        annotation = json.loads(file.read_text(encoding="utf-8"))
        width, height = annotation["imgWidth"], annotation["imgHeight"]
        if any(isinstance(n, bool) or int(n) != n or n < 1 for n in (width, height)):
            raise ValueError(f"imgWidth is {width!r} and imgHeight {height!r}")
        image = Image.new("L", (int(width), int(height)), IGNORED)
        brush = ImageDraw.Draw(image)
        for thing in annotation["objects"]:
            value = None if thing.get("deleted") else train_id(thing["label"])
            if value is not None:
                brush.polygon([(x, y) for x, y in thing["polygon"]], fill=value)
    except DataError as error:
        raise DataError(f"{str(file)!r}: {error}") from error
    except Exception as error:  # whatever json and Pillow run into
        raise DataError(
            f"{str(file)!r} is no Cityscapes annotation or is damaged ({type(error).__name__}: {error}); unpack the "
            "archive again."
        ) from error
    return np.array(image)


def label_ids_to_train_ids(file: Path) -> np.ndarray:
    """Train ids (H, W) uint8 of a ``*_labelIds.png``.

    Raises:
        DataError: the file is damaged, or holds values that are no label ids; names it.
    """
    try:
        ids = np.array(Image.open(file))
    except Exception as error:  # whatever Pillow runs into
        raise DataError(f"{str(file)!r} cannot be read ({error}); unpack the archive again.") from error
    if ids.ndim != 2 or ids.dtype != np.uint8 or (ids >= len(CITYSCAPES_LABELS)).any():
        raise DataError(
            f"{str(file)!r} is no map of label ids: shape {ids.shape}, type {ids.dtype}, largest value {ids.max()}; "
            f"expected one channel of 0 to {len(CITYSCAPES_LABELS) - 1}."
        )
    return np.array([TRAIN_IDS[name] for name in CITYSCAPES_LABELS], np.uint8)[ids]


def _convert_one(item: tuple[Path, Path], read: Callable[[Path], np.ndarray]) -> None:
    write_label(read(item[0]), item[1])


def convert_cityscapes(
    root: Path | str, gt_dir: str = "gtFine", out_dir: Path | str | None = None, nproc: int = 1, source: str = "auto"
) -> dict[str, int]:
    """Write ``*_labelTrainIds.png`` beside every annotation, and the lists ``{train,val,test}.txt``.

    Args:
        root: folder with ``gtFine``.
        gt_dir: ``gtFine`` or ``gtCoarse``.
        out_dir: folder of the lists; ``root`` by default. A line is ``CITY/STEM``, without ending.
        nproc: number of processes.
        source: ``"polygons"``, ``"labelIds"`` or, polygons where there are any, ``"auto"``.

    Returns:
        Number of annotations in each split that is there.

    Raises:
        DataError: no annotations, or damaged ones; names them.
    """
    if source not in ("auto", *_ENDINGS):
        raise ConfigError(unknown_name_message("source of Cityscapes labels", source, ["auto", *_ENDINGS]))
    folder = Path(root) / gt_dir
    if not folder.is_dir():
        raise DataError(
            f"there is no folder {str(folder)!r}; {where_it_stops(str(folder))}. Give the folder that holds {gt_dir}/, "
            "unpacked from gtFine_trainvaltest.zip"
        )
    for kind in _ENDINGS if source == "auto" else (source,):
        ending = _ENDINGS[kind]
        files = sorted(folder.rglob(f"*{ending}"))
        if files:
            break
    else:
        endings = " or ".join(_ENDINGS.values() if source == "auto" else (_ENDINGS[source],))
        raise DataError(f"no file below {str(folder)!r} ends in {endings}; it {contents(str(folder))}")
    read = polygons_to_train_ids if kind == "polygons" else label_ids_to_train_ids
    items = [(file, file.with_name(file.name[: -len(ending)] + "_labelTrainIds.png")) for file in files]
    for_each(partial(_convert_one, read=read), items, nproc, f"{gt_dir} to train ids")

    lists = Path(out_dir) if out_dir is not None else Path(root)
    lists.mkdir(parents=True, exist_ok=True)
    counts = {}
    for split in ("train", "train_extra", "val", "test"):
        tail = f"_{gt_dir}{ending}"
        stems = [
            f.relative_to(folder / split).as_posix()[: -len(tail)] for f in files if f.is_relative_to(folder / split)
        ]
        if stems:
            write_lines(stems, lists / f"{split}.txt")
            counts[split] = len(stems)
    return counts
