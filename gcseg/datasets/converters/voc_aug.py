"""Pascal VOC 2012 + SBD ("aug"): the .mat files of SBD to label maps, and the lists of the larger training set."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path

import numpy as np

from gcseg.datasets._files import contents, where_it_stops
from gcseg.datasets.converters._mat import read_field
from gcseg.datasets.converters._work import for_each, write_label, write_lines
from gcseg.utils.errors import DataError

#: Images of VOC train, SBD train and SBD val together without VOC val, in the complete archives.
TRAINAUG_IMAGES = 10582
_LAST_CLASS = 20


def read_sbd(file: Path) -> np.ndarray:
    """Class map (H, W) uint8, 0 to 20, of one SBD annotation (``GTcls.Segmentation``).

    Raises:
        DataError: the file is damaged or not such a file; names it.
    """
    try:
        label = read_field(file.read_bytes(), "GTcls", "Segmentation")
    except (OSError, ValueError) as error:
        raise DataError(
            f"{str(file)!r} is no SBD annotation or is damaged ({error}); unpack benchmark.tgz again."
        ) from error
    if (
        label.ndim != 2
        or not label.size
        or label.dtype.kind not in "iu"
        or label.min() < 0
        or label.max() > _LAST_CLASS
    ):
        values = f", {label.min()} to {label.max()}" if label.size else ""
        raise DataError(
            f"{str(file)!r}: GTcls.Segmentation is {label.dtype} of shape {label.shape}{values}, no map of classes 0 "
            f"to {_LAST_CLASS}; unpack benchmark.tgz again."
        )
    return label.astype(np.uint8)


def _convert_one(file: Path, out_dir: Path) -> None:
    write_label(read_sbd(file), out_dir / f"{file.stem}.png")


def convert_voc_aug(
    devkit: Path | str, aug: Path | str, out_dir: Path | str | None = None, nproc: int = 1
) -> dict[str, int]:
    """Write the labels of SBD as PNG, and the lists ``trainaug.txt`` and ``aug.txt``.

    ``trainaug`` is VOC train with SBD train and val, without VOC val; ``aug`` is what SBD adds to VOC train. Both are
    sorted and go to ``VOC2012/ImageSets/Segmentation``.

    Args:
        devkit: VOCdevkit, with ``VOC2012``.
        aug: SBD, with ``dataset/cls/*.mat`` and ``dataset/{train,val}.txt``.
        out_dir: folder of the PNG files; ``VOC2012/SegmentationClassAug`` in ``devkit`` by default.
        nproc: number of processes.

    Returns:
        Number of converted files (``labels``) and of lines in each list (``trainaug``, ``aug``).

    Raises:
        DataError: a folder, list or file is missing or damaged; names it.
    """
    voc, sbd = Path(devkit) / "VOC2012", Path(aug) / "dataset"
    lists = voc / "ImageSets" / "Segmentation"
    train, val = _names(lists / "train.txt"), _names(lists / "val.txt")
    extra = _names(sbd / "train.txt") | _names(sbd / "val.txt")
    if not (sbd / "cls").is_dir():
        raise DataError(f"there is no folder {str(sbd / 'cls')!r}; {where_it_stops(str(sbd / 'cls'))}")
    files = sorted((sbd / "cls").glob("*.mat"))
    if not files:
        raise DataError(f"no .mat file in {str(sbd / 'cls')!r}; it {contents(str(sbd / 'cls'))}")

    target = Path(out_dir) if out_dir is not None else voc / "SegmentationClassAug"
    target.mkdir(parents=True, exist_ok=True)
    for_each(partial(_convert_one, out_dir=target), files, nproc, "SBD to PNG")

    trainaug = sorted((train | extra) - val)
    added = sorted(extra - train - val)
    without = sorted(set(added) - {file.stem for file in files})
    if without:
        raise DataError(
            f"{len(without)} images in the lists of {str(sbd)!r} have no .mat file in cls/, the first is "
            f"{without[0]!r}; unpack benchmark.tgz again"
        )
    if len(trainaug) != TRAINAUG_IMAGES:
        warnings.warn(
            f"trainaug.txt has {len(trainaug)} images; with the complete VOC 2012 and SBD it has {TRAINAUG_IMAGES}",
            stacklevel=2,
        )
    write_lines(trainaug, lists / "trainaug.txt")
    write_lines(added, lists / "aug.txt")
    return {"labels": len(files), "trainaug": len(trainaug), "aug": len(added)}


def _names(file: Path) -> set[str]:
    if not file.is_file():
        raise DataError(
            f"there is no list {str(file)!r}; {where_it_stops(str(file))}. Expected are VOCdevkit with VOC2012/, "
            "and SBD (benchmark_RELEASE, often called VOCaug) with dataset/"
        )
    return {line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()}
