"""What can be seen of one file, whatever data set it belongs to."""

from __future__ import annotations

import hashlib
import io
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from gcseg.datasets._files import is_local
from gcseg.datasets.transforms.loading import LoadAnnotations, LoadImageFromFile, read_file
from gcseg.utils.errors import DataError

IMAGE, LABEL = "image", "label"
_ORIENTATION = 274  # of EXIF
_MANY_COLOURS = 256
_PADDING = 8  # bytes too many before a JPEG's end that cameras are known to write
_HOLE = bytes(4096)  # in a compressed file: a block that was never written
_EXTENSIONS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
}


class Job(NamedTuple):
    """A file to look at.

    Attributes:
        kind: :data:`IMAGE` or :data:`LABEL`.
        path: of the file.
        loader: the transform of the pipeline that reads it.
    """

    kind: str
    path: str
    loader: LoadImageFromFile | LoadAnnotations


@dataclass
class Facts:
    """What is known of a file.

    Attributes:
        kind: :data:`IMAGE` or :data:`LABEL`.
        path: of the file.
        fault: kind of the fault that keeps it from being used, see :mod:`.kinds`; ``""`` when there is none.
        message: the fault in words.
        size: (H, W) as it is loaded.
        digest: hash of the content; ``""`` when it cannot be read.
        remarks: (kind, words) of what is odd though it can be used.
        counts: of a label, value in the file -> pixels.
        colours: of a coloured label, the first few colours in it, RGB.
        has_palette: whether its pixels are places in a list of colours of its own.
    """

    kind: str
    path: str
    fault: str = ""
    message: str = ""
    size: tuple[int, int] | None = None
    digest: str = ""
    remarks: list[tuple[str, str]] = field(default_factory=list)
    counts: dict[int, int] = field(default_factory=dict)
    colours: list[tuple[int, int, int]] = field(default_factory=list)
    has_palette: bool = False


def look_at(job: Job) -> Facts:
    """Read and decode one file in full, as training does. Raises nothing for a bad file."""
    facts = Facts(job.kind, job.path)
    try:
        content = read_file(job.path, job.loader.backend_args, job.kind)
    except DataError as error:
        local = is_local(job.path, job.loader.backend_args)
        if local and not os.path.exists(job.path):
            facts.fault = f"missing-{job.kind}"
        else:
            facts.fault = "empty-file" if local and os.path.isfile(job.path) else f"unreadable-{job.kind}"
        facts.message = str(error)
        return facts
    facts.digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    with _words_of_decoder() as said:
        try:
            array = job.loader.decode_content(content, job.path)
        except DataError as error:
            facts.fault, facts.message = f"unreadable-{job.kind}", str(error)
    if facts.fault:
        return facts
    facts.size = array.shape[:2]
    _note_damage(facts, content, said)
    header = _header(content)
    if header is not None:
        _note_header(facts, content, header)
    if isinstance(job.loader, LoadAnnotations):
        _count_labels(facts, array, job.loader)
    return facts


def killed(job: Job) -> Facts:
    """The facts of a file at which the process died."""
    message = (
        f"{job.kind} {job.path!r} killed the process that decoded it (damaged, or too large for the memory). Make it "
        "again, or take it off the list"
    )
    return Facts(job.kind, job.path, f"unreadable-{job.kind}", message)


@contextmanager
def _words_of_decoder() -> Iterator[list[str]]:
    """Lines that libraries in C write to standard error meanwhile: libjpeg tells of damage in no other way."""
    said: list[str] = []
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file:
        screen = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield said
        finally:
            os.dup2(screen, 2)
            os.close(screen)
            file.seek(0)
            said += file.read().decode(errors="replace").splitlines()


def _note_damage(facts: Facts, content: bytes, said: list[str]) -> None:
    if not content.startswith((b"\xff\xd8", b"\x89PNG")):
        return
    for line in said:
        extra = re.search(r"(\d+) extraneous bytes", line)
        if extra and int(extra.group(1)) <= _PADDING:
            facts.remarks.append(("odd-file", f"decodes, but the decoder says: {line.strip()}"))
        elif "JPEG" in line or "CRC" in line:
            facts.remarks.append((f"damaged-{facts.kind}", f"is damaged; the decoder says: {line.strip()}"))
            break
    at = content.find(_HOLE)
    if at >= 0 and content.startswith(b"\xff\xd8"):
        words = f"is damaged: {len(_HOLE)} zeros or more from byte {at} on, of {len(content)} bytes"
        facts.remarks = [remark for remark in facts.remarks if not remark[0].startswith("damaged")]
        facts.remarks.append((f"damaged-{facts.kind}", words))


class _Header(NamedTuple):
    """What Pillow says of a file without decoding it."""

    format: str
    mode: str
    orientation: int
    frames: int


def _header(content: bytes) -> _Header | None:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content)) as image:
                orientation = image.getexif().get(_ORIENTATION, 1)
                return _Header(image.format or "", image.mode, orientation, getattr(image, "n_frames", 1))
    except Exception:  # an odd header; that the file can be decoded has been seen
        return None


def _note_header(facts: Facts, content: bytes, header: _Header) -> None:
    def note(kind: str, words: str) -> None:
        facts.remarks.append((kind, words))

    name = facts.path.lower()
    if header.format in _EXTENSIONS and not name.endswith(_EXTENSIONS[header.format]):
        note("odd-file", f"is a {header.format} file by its content, and not what its name says")
    if header.frames > 1:
        note("odd-file", f"has {header.frames} frames; the first is used")
    deep = header.mode.startswith("I;16") or (content.startswith(b"\x89PNG") and content[24] == 16)
    if facts.kind == LABEL:
        facts.has_palette = header.mode == "P"
        if header.format == "JPEG":
            note("lossy-label", "is a JPEG: the compression changes class numbers")
        if deep:
            note("16-bit-label", "has 16 bits a pixel; its values fit into 8")
        return
    if header.orientation not in (0, 1):
        note("turned-image", f"has EXIF orientation {header.orientation}")
    if header.mode in ("L", "1", "I;16", "I"):
        note("grey-image", f"has one channel (mode {header.mode})")
    if header.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        note("alpha-image", f"has transparency (mode {header.mode})")
    if header.mode == "CMYK":
        note("odd-file", "has CMYK colours, which decoders turn into RGB each in its way")
    if deep:
        note("16-bit-image", "has 16 bits a channel")


def _count_labels(facts: Facts, array: np.ndarray, loader: LoadAnnotations) -> None:
    """Values of an index map, or why it is none."""
    try:
        index_map = loader.index_map(array, facts.path)
    except DataError as error:
        coloured = array.ndim == 3
        facts.fault, facts.message = ("coloured-label" if coloured else "wide-label"), str(error)
        facts.remarks = [remark for remark in facts.remarks if remark[0] != "16-bit-label"]
        if coloured and array.shape[2] >= 3:
            facts.colours = _colours(array)
        return
    pixels = np.bincount(index_map.ravel(), minlength=256)
    facts.counts = {int(value): int(pixels[value]) for value in np.flatnonzero(pixels)}


def _colours(array: np.ndarray) -> list[tuple[int, int, int]]:
    """The distinct colours, at most so many; ``array`` is BGR, as mmcv loads it."""
    blue, green, red = (array[..., channel].astype(np.int64) for channel in range(3))
    packed = np.unique((red << 16) | (green << 8) | blue)[:_MANY_COLOURS]
    return [(int(value) >> 16 & 255, int(value) >> 8 & 255, int(value) & 255) for value in packed]


def decodes_as(job: Job) -> tuple[str, str, Any]:
    """Two jobs with the same value need to be done once."""
    return job.kind, job.path, repr(job.loader)
