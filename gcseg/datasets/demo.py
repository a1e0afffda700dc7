"""The demo data set: rendered street scenes in the layout of Cityscapes, drawn when they are first needed.

Nothing is downloaded. The pictures are a function of :data:`VERSION` alone: same pixels on every machine.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gcseg.datasets.cityscapes import CityscapesDataset
from gcseg.metainfo import DEMO
from gcseg.registry import DATASETS
from gcseg.utils.errors import DataError
from gcseg.utils.progress import progress

#: Changes whenever a pixel of a picture changes; part of the folder's name.
VERSION = "1"
#: (H, W) of the pictures.
SHAPE = (160, 320)
#: Number of pictures in each split.
SPLITS: dict[str, int] = {"train": 160, "val": 40}
_TOWNS = {"train": ("alderwick", "brunsfeld", "corvale", "dunmere"), "val": ("eastholm",)}


def demo_folder() -> Path:
    """Where the demo data set is kept: ``$GCSEG_DATA/demo-VERSION``, or ``~/.cache/gcseg/demo-VERSION``."""
    base = os.environ.get("GCSEG_DATA")
    return (Path(base).expanduser() if base else Path.home() / ".cache" / "gcseg") / f"demo-{VERSION}"


def ensure_demo(folder: str | os.PathLike | None = None, splits: Mapping[str, int] = SPLITS) -> Path:
    """Draw the demo data set unless it is there.

    The folder appears complete or not at all: the pictures are drawn in a folder beside it that is then renamed. Of
    several processes that ask at once, one draws and the others wait; where files cannot be locked, all draw and the
    first to finish wins. Files that somebody deleted are drawn again.

    Args:
        folder: where; None takes :func:`demo_folder`.
        splits: number of pictures of each split, for a smaller set than :data:`SPLITS`.

    Returns:
        The folder, with ``leftImg8bit/SPLIT/TOWN/*_leftImg8bit.png`` (RGB) and
        ``gtFine/SPLIT/TOWN/*_gtFine_labelTrainIds.png`` (uint8, indices into ``gcseg.metainfo.DEMO``, 255 unlabelled).

    Raises:
        DataError: the folder cannot be written.
    """
    target = Path(folder) if folder is not None else demo_folder()
    if not _missing(target, splits):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _only_one(target.with_name(target.name + ".lock")):
            missing = _missing(target, splits)
            if missing and target.is_dir():
                _draw(target, missing)
            elif missing:
                _draw_beside(target, missing)
    except OSError as error:
        raise DataError(
            f"the demo data set cannot be drawn into {str(target)!r} ({error.strerror or error}); make that place "
            "writable, or set the environment variable GCSEG_DATA to a folder that is"
        ) from error
    return target


def _items(splits: Mapping[str, int]) -> Iterator[tuple[str, int, Path, Path]]:
    """(split, number, image, label) of every picture; paths relative to the folder."""
    for split, count in splits.items():
        towns = _TOWNS[split]
        for number in range(count):
            town = towns[number % len(towns)]
            stem = f"{town}_{number:06d}_000019"
            yield (
                split,
                number,
                Path("leftImg8bit", split, town, f"{stem}_leftImg8bit.png"),
                Path("gtFine", split, town, f"{stem}_gtFine_labelTrainIds.png"),
            )


def _missing(target: Path, splits: Mapping[str, int]) -> list[tuple[str, int, Path, Path]]:
    return [item for item in _items(splits) if not all((target / file).is_file() for file in item[2:])]


def _draw_beside(target: Path, items: list[tuple[str, int, Path, Path]]) -> None:
    """Draw into a new folder and give it its name when it is complete."""
    beside = target.with_name(f"{target.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        _draw(beside, items)
        try:
            beside.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _draw(folder: Path, items: list[tuple[str, int, Path, Path]]) -> None:
    """Draw the pictures, in a few threads (NumPy works outside the interpreter's lock)."""
    for parent in {(folder / file).parent for item in items for file in item[2:]}:
        parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        done = pool.map(lambda item: _draw_one(folder, *item), items)
        for _ in progress(done, total=len(items), desc=f"drawing the demo data set in {folder.parent}", unit="picture"):
            pass


def _draw_one(folder: Path, split: str, number: int, image_file: Path, label_file: Path) -> None:
    from PIL import Image

    from gcseg.datasets.demo_scene import render_street

    image, label = render_street(SHAPE, (int(VERSION), list(SPLITS).index(split), number))
    for array, file in ((image, image_file), (label, label_file)):
        part = (folder / file).with_suffix(f".{os.getpid()}.part")
        Image.fromarray(array).save(part, format="PNG")
        part.replace(folder / file)


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    """Hold a lock that dies with the process; where the file system has none, go on without."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with lock.open("a") as file:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@DATASETS.register_module()
class DemoDataset(CityscapesDataset):
    """Rendered streets with nine of the Cityscapes classes: 160 to train on and 40 to evaluate, 320x160 pixels.

    Buildings, walls, cars and clothes share one set of colours, and so do road and pavement, under sun, shade, haze and
    noise: shape, texture and place must be learnt. A colour look-up table reaches less than half of the mIoU of the
    demo recipe (``benchmarks/demo_colour_baseline.py``).

    Args:
        data_root: folder of the pictures; None takes :func:`demo_folder` and draws them when they are not there.
        **kwargs: those of :class:`~gcseg.datasets.BaseSegDataset`.
    """

    METAINFO = dict(DEMO)

    def __init__(self, data_root: str | None = None, **kwargs: Any) -> None:
        super().__init__(data_root=str(ensure_demo()) if data_root is None else data_root, **kwargs)
