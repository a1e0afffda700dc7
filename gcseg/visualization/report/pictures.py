"""Pictures inside the page: files as data URIs."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Sequence

import numpy as np
from PIL import Image

from gcseg.utils.errors import DataError
from gcseg.visualization.paint import colour_map
from gcseg.visualization.report.data import Picture

#: RGB and opacity of pixels that are right, wrong, unlabelled.
ERROR_COLOURS = ((0, 0, 0, 0), (214, 39, 40, 255), (128, 128, 128, 255))


def data_uri(kind: str, data: bytes) -> str:
    """A file as the value of ``src``; ``kind`` is 'jpeg' or 'png'."""
    return f"data:image/{kind};base64,{b64encode(data).decode()}"


def label_png(labels: np.ndarray, palette: Sequence[Sequence[int]]) -> bytes:
    """The colours of a map of class indices as PNG; what is no class is black.

    Args:
        labels: (h, w) integers.
        palette: RGB of each class.
    """
    if len(palette) < 256:
        picture = Image.fromarray(np.minimum(labels, len(palette)).astype(np.uint8))
        picture.putpalette([v for colour in palette for v in colour] + [0, 0, 0])
    else:
        picture = Image.fromarray(colour_map(labels.astype(np.int64), palette))
    return _png(picture)


def error_png(truth: np.ndarray, prediction: np.ndarray, num_classes: int) -> bytes:
    """Where a prediction is wrong, as PNG in ``ERROR_COLOURS``; (h, w) integers both."""
    wrong = np.where(truth >= num_classes, 2, (truth != prediction).astype(np.uint8)).astype(np.uint8)
    picture = Image.fromarray(wrong)
    picture.putpalette([v for colour in ERROR_COLOURS for v in colour], "RGBA")
    return _png(picture)


def picture_uris(picture: Picture, palette: Sequence[Sequence[int]]) -> dict[str, str | None]:
    """``photograph`` (None if there is none), ``truth``, ``prediction`` and ``error`` as data URIs.

    Raises:
        DataError: the picture's maps cannot be read; names its photograph.
    """
    try:
        truth, prediction = (np.asarray(Image.open(io.BytesIO(m))) for m in (picture.truth, picture.prediction))
        files = [label_png(m, palette) for m in (truth, prediction)] + [error_png(truth, prediction, len(palette))]
    except (OSError, ValueError) as e:
        raise DataError(f"the pictures of {picture.path} in the data of the report cannot be read: {e}") from e
    found: dict[str, str | None] = dict(
        zip(("truth", "prediction", "error"), (data_uri("png", f) for f in files), strict=True)
    )
    return {"photograph": None if picture.photograph is None else data_uri("jpeg", picture.photograph), **found}


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()
