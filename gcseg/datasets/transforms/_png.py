"""The upper rows of a PNG file, without decoding the rows below them."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Chunks that do not change what OpenCV makes of an RGB image; eXIf, which turns it round, is not among them.
_HARMLESS = {b"IHDR", b"IDAT", b"IEND", b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"tEXt", b"zTXt", b"iTXt", b"tIME", b"bKGD"}
_RGB_8_BIT = bytes((8, 2, 0, 0, 0))  # bit depth, colour type, compression, filter, no interlacing
_HEADER = 33  # bytes of the signature and of the first chunk, IHDR
# Pillow, which can stop, takes up to a fifth longer for a row than OpenCV, which cannot.
_WORTH_WHILE = 0.75


class PngRows:
    """A PNG file in memory, whole by its checksums, of which as many rows are decoded as are asked for.

    Args:
        content: the file.
        shape: (H, W, 3) of the image.
        decode_all: gives all pixels, (H, W, 3) uint8 BGR.
    """

    def __init__(self, content: bytes, shape: tuple[int, int, int], decode_all: Callable[[], np.ndarray]) -> None:
        self.shape = shape
        self._content, self._decode_all = content, decode_all

    @classmethod
    def of(cls, content: bytes, decode_all: Callable[[], np.ndarray]) -> PngRows | None:
        """The file as rows, or None when it has to be decoded as a whole: no PNG, not plain RGB, or damaged."""
        if not content.startswith(_SIGNATURE) or content[24:29] != _RGB_8_BIT or not _is_whole(content):
            return None
        width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
        return cls(content, (height, width, 3), decode_all)

    def rows(self, number: int) -> np.ndarray:
        """The first rows, (at least ``number``, W, 3) uint8 BGR."""
        if number > _WORTH_WHILE * self.shape[0]:
            return self._decode_all()
        try:
            with Image.open(io.BytesIO(self._cut_off(number))) as image:
                return cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2BGR)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            return self._decode_all()  # which says what is wrong

    def _cut_off(self, number: int) -> bytes:
        """The same file with a smaller height in its header. A decoder stops there; the rest is not looked at."""
        chunk = self._content[12:20] + number.to_bytes(4, "big") + self._content[24:29]
        head = self._content[:12] + chunk + zlib.crc32(chunk).to_bytes(4, "big")
        return head + self._content[_HEADER:]


def has_wrong_checksum(content: bytes) -> bool:
    """Whether a chunk of a PNG file differs from its checksum, which Pillow does not look at."""
    view = memoryview(content)
    at = len(_SIGNATURE)
    if not content.startswith(_SIGNATURE):
        return False
    while at + 12 <= len(view):
        end = at + 8 + int.from_bytes(view[at : at + 4], "big")
        if end + 4 > len(view):
            break  # it breaks off, which Pillow says
        if zlib.crc32(view[at + 4 : end]).to_bytes(4, "big") != view[end : end + 4]:
            return True
        if view[at + 4 : at + 8] == b"IEND":
            break  # what stands behind is no part of the image
        at = end + 4
    return False


def _is_whole(content: bytes) -> bool:
    """Whether harmless chunks, each with the right checksum, reach from the signature to the end."""
    view = memoryview(content)
    at, kind = len(_SIGNATURE), b""
    while at + 12 <= len(view):
        length = int.from_bytes(view[at : at + 4], "big")
        kind, end = bytes(view[at + 4 : at + 8]), at + 8 + length
        if kind not in _HARMLESS or zlib.crc32(view[at + 4 : end]).to_bytes(4, "big") != view[end : end + 4]:
            return False
        at = end + 4
    return kind == b"IEND" and at == len(view)
