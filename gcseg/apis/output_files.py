"""Predictions as files: how they are named, and what is in them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gcseg.utils.atomic import check_folder, new_file
from gcseg.utils.errors import ConfigError

#: Kinds of results of :func:`gcseg.apis.predict.predict`, each in a folder of its name.
KINDS = ("overlay", "index", "palette", "probs")


def output_names(files: Sequence[tuple[Path, Path]]) -> list[str]:
    """A name for the results of each file, without suffix; no two alike, and none depends on the order.

    The plainest of four ways that tells all of them apart: the path below the folder that was given; the same with its
    suffix; the path below the folder that all files have in common; the same with its suffix.

    Args:
        files: (file, folder that was given), absolute and different from each other.
    """
    if not files:
        return []
    common = Path(os.path.commonpath([file.parent for file, _ in files]))
    whole = [file.relative_to(folder) for file, folder in files]
    deeper = [file.relative_to(common) for file, _ in files]
    ways = ([p.with_suffix("") for p in whole], whole, [p.with_suffix("") for p in deeper], deeper)
    for way in ways:
        names = [path.as_posix() for path in way]
        if max(Counter(name.casefold() for name in names).values()) == 1:  # some file systems know no upper case
            return names
    return names  # alike but for upper case, on a file system that knows it


def check_results_folder(folder: str | os.PathLike, name: str) -> None:
    """Make a folder of results, before the work.

    Args:
        folder: where the results go.
        name: what to call it in the error.

    Raises:
        ConfigError: it cannot be written to.
    """
    try:
        check_folder(folder)
    except OSError as e:
        raise ConfigError(f"{name}={os.fspath(folder)!r}: cannot be written to: {e}; name another folder") from e


def write_label_map(
    path: str | os.PathLike, indices: np.ndarray, palette: Sequence[Sequence[int]] | None = None
) -> None:
    """Write class indices as a PNG.

    Args:
        path: the file; folders above it are made.
        indices: (H, W) integers from 0 on; 8 bits per pixel, or 16 when an index needs them.
        palette: RGB of each class: the file holds the same indices, and viewers show it in these colours.

    Raises:
        ConfigError: ``palette`` has more than the 256 colours that a PNG can have.
    """
    from PIL import Image

    wide = indices.size and int(indices.max()) > 255
    image = Image.fromarray(indices.astype(np.uint16 if wide else np.uint8))
    if palette is not None:
        if len(palette) > 256:
            raise ConfigError(
                f"a palette PNG has at most 256 colours, and there are {len(palette)} classes; write index"
            )
        image.putpalette([channel for colour in palette for channel in colour])
    with new_file(path) as f:
        image.save(f, format="PNG")


def write_picture_file(path: str | os.PathLike, picture: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB as a JPEG of high quality; folders above it are made."""
    from PIL import Image

    with new_file(path) as f:
        Image.fromarray(picture).save(f, format="JPEG", quality=92, subsampling=0)


def write_probabilities(path: str | os.PathLike, probabilities: np.ndarray, classes: Sequence[str]) -> None:
    """Write the probabilities of the classes as a compressed ``.npz``.

    It holds ``probabilities`` (C, H, W) float16, whose error is 1/2048 of the value, so that small probabilities keep
    their logarithms, which 16-bit images with their fixed step would not; and ``classes`` (C,), the names.

    Args:
        path: the file; folders above it are made.
        probabilities: (C, H, W), 0 to 1.
        classes: names.
    """
    with new_file(path) as f:
        np.savez_compressed(f, probabilities=probabilities.astype(np.float16), classes=np.array(classes, dtype=str))
