"""PNG and JPEG files written by hand, changes that know their parts, and what is to be demanded of a damaged one."""

from __future__ import annotations

import zlib
from random import Random

import numpy as np
from mutations import be32, blind, flip

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
_CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
_SIZES = (0, 1, 2, 3, 255, 4096, 65535, 65536, 1 << 20, 2**31 - 1, 2**31, 2**32 - 1)
Chunks = list[tuple[bytes, bytes]]


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk with its length and its checksum."""
    return be32(len(body)) + kind + body + be32(zlib.crc32(kind + body))


def png(pixels: np.ndarray, kind: int, depth: int = 8, filters: bytes = b"\x00") -> bytes:
    """A PNG file of (H, W) or (H, W, C) whole numbers below ``2 ** depth``; the filters are only said, not applied."""
    height, width = pixels.shape[:2]
    flat = pixels.reshape(height, -1)
    if depth == 16:
        rows = [row.astype(">u2").tobytes() for row in flat]
    elif depth == 8:
        rows = [row.astype(np.uint8).tobytes() for row in flat]
    else:
        bits = np.unpackbits(flat.astype(np.uint8)[..., None], axis=-1)[..., 8 - depth :].reshape(height, -1)
        rows = [np.packbits(row).tobytes() for row in bits]
    raw = b"".join(filters[i % len(filters)].to_bytes(1, "big") + row for i, row in enumerate(rows))
    parts: Chunks = [(b"IHDR", be32(width) + be32(height) + bytes((depth, kind, 0, 0, 0)))]
    if kind == PALETTE:
        parts.append((b"PLTE", bytes(range(256)) * 3))
    return join([*parts, (b"IDAT", zlib.compress(raw)), (b"IEND", b"")])


def join(parts: Chunks) -> bytes:
    """A file of these chunks, all of whose checksums are right."""
    return SIGNATURE + b"".join(chunk(kind, body) for kind, body in parts)


def split(data: bytes) -> Chunks:
    """The chunks of a file."""
    at, parts = len(SIGNATURE), []
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        parts.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return parts


def change_png(data: bytes, rng: Random) -> tuple[bytes, str]:
    """Change a PNG file and make its checksums right again."""
    parts = split(data)
    at = rng.randrange(len(parts))
    kind, body = parts[at]
    what = rng.choice(("header", "header", "data", "drop", "twice", "order", "extra", "rows", "name"))
    if what == "header":
        head = bytearray(parts[0][1])
        place = rng.choice(("width", "height", 8, 9, 10, 11, 12))
        if isinstance(place, str):
            start = 0 if place == "width" else 4
            held = int.from_bytes(head[start : start + 4], "big")
            head[start : start + 4] = be32(rng.choice((*_SIZES, held + 1, held - 1, held * 2)))
        else:
            head[place] = rng.choice((0, 1, 2, 3, 4, 6, 7, 8, 16, 255))
        parts[0] = b"IHDR", bytes(head)
        what = f"header {place}"
    elif what == "data":
        parts[at] = kind, flip(body, rng) if body else rng.randbytes(4)
        what = f"{what} of {kind!r}"
    elif what == "drop":
        del parts[at]
        what = f"{what} {kind!r}"
    elif what == "twice":
        parts.insert(at, (kind, body))
        what = f"{kind!r} {what}"
    elif what == "order":
        rng.shuffle(parts)
    elif what == "name":
        parts[at] = rng.choice((b"IDAT", b"PLTE", b"tRNS", b"fdAT", b"ABCD", b"\x00\xff\x00\xff", b"IEND")), body
    elif what == "extra":
        extra = rng.choice((b"tRNS", b"gAMA", b"iCCP", b"eXIf", b"acTL", b"fcTL", b"sBIT", b"zTXt", b"iTXt", b"PLTE"))
        bodies = (b"", rng.randbytes(3), rng.randbytes(26), b"a\0\0" + zlib.compress(bytes(1 << 20)), exif(rng))
        parts.insert(rng.randrange(len(parts) + 1), (extra, rng.choice(bodies)))
        what = f"{what} {extra!r}"
    else:
        try:
            raw = zlib.decompress(b"".join(body for kind, body in parts if kind == b"IDAT"))
        except zlib.error:
            return flip(data, rng), "flip"
        raw, what = blind(raw, rng)
        packed = zlib.compress(raw, rng.choice((0, 9)))
        cut_at = rng.choice((len(packed), rng.randrange(len(packed) + 1)))
        parts = [part for part in parts if part[0] not in (b"IDAT", b"IEND")]
        parts += [(b"IDAT", packed[:cut_at]), (b"IEND", b"")]
        what = f"rows: {what}"
    return join(parts), what


def exif(rng: Random) -> bytes:
    """An EXIF block with an orientation, right or damaged."""
    order = rng.choice((b"II", b"MM"))
    little = order == b"II"

    def n(value: int, size: int) -> bytes:
        return value.to_bytes(size, "little" if little else "big")

    value = rng.choice((1, 3, 6, 8, 0, 9, 65535))
    entry = n(0x0112, 2) + n(3, 2) + n(1, 4) + n(value, 2) + n(0, 2)
    block = order + n(42, 2) + n(8, 4) + n(1, 2) + entry + n(0, 4)
    return flip(block, rng) if rng.random() < 0.3 else block


def segments(data: bytes) -> list[bytes]:
    """The segments of a JPEG file, the last with all of the picture's data."""
    at, parts = 2, []
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        parts.append(data[at:end])
        at = end
    return [*parts, data[at:]]


def change_jpeg(data: bytes, rng: Random) -> tuple[bytes, str]:
    """Change a segment of a JPEG file."""
    parts = segments(data)
    at = rng.randrange(len(parts))
    what = rng.choice(("length", "size", "body", "drop", "twice", "order", "exif", "end"))
    frames = [i for i, part in enumerate(parts) if part[1:2] in (b"\xc0", b"\xc2")]
    if what == "size" and frames:
        frame = bytearray(parts[frames[0]])
        place = rng.randrange(4, min(len(frame), 13))  # precision, height, width, components, sampling
        frame[place] = rng.choice((0, 1, 2, 3, 4, 8, 12, 17, 34, 255))
        parts[frames[0]] = bytes(frame)
        what = f"frame byte {place}"
    elif what == "length" and len(parts[at]) > 4:
        length = rng.choice((0, 1, 2, 3, 65535, int.from_bytes(parts[at][2:4], "big") + rng.choice((-1, 1))))
        parts[at] = parts[at][:2] + length.to_bytes(2, "big") + parts[at][4:]
    elif what == "body" and len(parts[at]) > 5:
        parts[at] = parts[at][:4] + flip(parts[at][4:], rng)
    elif what == "drop":
        del parts[at]
    elif what == "twice":
        parts.insert(at, parts[at])
    elif what == "order":
        rng.shuffle(parts)
    elif what == "end":
        parts[-1] = parts[-1][: rng.randrange(len(parts[-1]))] + b"\xff\xd9"
    else:
        block = b"Exif\0\0" + exif(rng)
        parts.insert(0, b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block)
        what = "exif"
    return data[:2] + b"".join(parts), what


def why_unsound(data: bytes) -> str | None:
    """Why a file must be refused: what its checksums and its ends say; None when they say nothing."""
    if data.startswith(b"\xff\xd8"):
        unwritten = data.endswith(bytes(16)) and not data.rstrip(b"\0").endswith(b"\xff\xd9")
        return "a JPEG with zeros in place of its end" if unwritten else None
    if not data.startswith(SIGNATURE):
        return None
    at, kind, header, packed = len(SIGNATURE), b"", b"", b""
    while kind != b"IEND" and at + 12 <= len(data):  # without its end it may have all of its pixels
        length = int.from_bytes(data[at : at + 4], "big")
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        wrong = be32(zlib.crc32(kind + body)) != data[at + 8 + length : at + 12 + length]
        if at + 12 + length <= len(data) and wrong and kind in (b"IHDR", b"PLTE", b"IDAT"):
            return f"a PNG whose {kind.decode()} has a wrong checksum"
        header = header or (body if kind == b"IHDR" else b"")
        packed += body if kind == b"IDAT" else b""
        at += 12 + length
    if len(header) != 13:
        return "a PNG without a header"
    needed, got = _bytes_of_rows(header), _inflated(packed)
    return f"a PNG with {got} of {needed} bytes of pixels" if got < needed else None


def _bytes_of_rows(header: bytes) -> int:
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    bits = header[8] * _CHANNELS.get(header[9], 1)
    passes = [(width, height)]
    if header[12]:
        steps = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
        passes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in steps if x < width and y < height]
    return sum(h * (1 + -(-w * bits // 8)) for w, h in passes)


def _inflated(packed: bytes) -> int:
    inflater, got = zlib.decompressobj(), 0
    for at in range(len(packed)):
        try:
            got += len(inflater.decompress(packed[at : at + 1]))
        except zlib.error:
            break
    return got
