"""Changes to bytes that know nothing, or a little, of the format."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

_NUMBERS = (0, 1, 2, 3, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
#: Values that a config, a JSON file or a pickle can hold and that are seldom meant.
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 7, 255, 256, 10**9, 2**63, 10**30, -(2**63), 0.5, -0.0, 1e308),
    *(math.nan, math.inf, "", " ", "0", "nan", "abc", "None", "é\u202e", "\x00", "\x1b[31m", "a\nb", "x" * 300, "{}"),
    *([], {}, [[]], [None], [1, 2], [1, 2, 3], ["a"], {"a": 1}, {"type": "ReLU"}, {"type": None}, [[[[1]]]], (1, 2)),
)


def flip(data: bytes, rng: Random) -> bytes:
    """One to eight bits change."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(data: bytes, rng: Random) -> bytes:
    """The end is missing."""
    return data[: rng.choice((0, 1, len(data) // 2, len(data) - 1, rng.randrange(len(data))))]


def _piece(data: bytes, rng: Random) -> tuple[int, int]:
    start = rng.randrange(len(data))
    return start, min(len(data), start + rng.choice((1, 2, 4, 16, 64, 512)))


def remove(data: bytes, rng: Random) -> bytes:
    """A piece is missing."""
    start, end = _piece(data, rng)
    return data[:start] + data[end:]


def repeat(data: bytes, rng: Random) -> bytes:
    """A piece stands there twice or more."""
    start, end = _piece(data, rng)
    return data[:end] + data[start:end] * rng.choice((1, 1, 3, 50)) + data[end:]


def swap(data: bytes, rng: Random) -> bytes:
    """Two pieces change places."""
    a, b = sorted((_piece(data, rng), _piece(data, rng)))
    if a[1] > b[0]:
        return flip(data, rng)
    return data[: a[0]] + data[b[0] : b[1]] + data[a[1] : b[0]] + data[a[0] : a[1]] + data[b[1] :]


def number(data: bytes, rng: Random) -> bytes:
    """A field of 1, 2, 4 or 8 bytes, of either order, holds a number that is seldom meant, or one beside its own."""
    size = rng.choice((1, 2, 4, 4, 8))
    if len(data) < size:
        return flip(data, rng)
    at, order = rng.randrange(len(data) - size + 1), rng.choice(("big", "little"))
    held = int.from_bytes(data[at : at + size], order)
    value = rng.choice((*_NUMBERS, held + 1, held - 1, held * 2, len(data))) % (1 << 8 * size)
    return data[:at] + value.to_bytes(size, order) + data[at + size :]


def zeros(data: bytes, rng: Random) -> bytes:
    """A piece was never written: a file system gives zeros."""
    start, end = _piece(data, rng)
    end = rng.choice((end, len(data)))
    return data[:start] + bytes(end - start) + data[end:]


def insert(data: bytes, rng: Random) -> bytes:
    """Something stands in between, or behind the end."""
    at = rng.choice((0, len(data), rng.randrange(len(data))))
    return data[:at] + rng.randbytes(rng.choice((1, 4, 64, 4096))) + data[at:]


def text_mode(data: bytes, rng: Random) -> bytes:
    """A program took it for text."""
    return rng.choice(
        (
            lambda d: d.replace(b"\n", b"\r\n"),
            lambda d: d.replace(b"\r\n", b"\n"),
            lambda d: d.decode("latin-1").encode("utf-8"),
            lambda d: d.decode("utf-8", "replace").encode("utf-8"),
            lambda d: b"\xef\xbb\xbf" + d,
        )
    )(data)


_BLIND = (flip, flip, cut, remove, repeat, swap, number, number, zeros, insert, text_mode)


def blind(data: bytes, rng: Random, others: Sequence[bytes] = ()) -> tuple[bytes, str]:
    """One to three of the changes above, or a splice of two files; and in words what was done."""
    notes = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if not data:
            break
        if others and rng.random() < 0.1:
            other = rng.choice(others)
            data = data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]
            notes.append("splice")
            continue
        change: Callable[[bytes, Random], bytes] = rng.choice(_BLIND)
        data = change(data, rng)
        notes.append(change.__name__)
    return data, "+".join(notes)


def replace_node(tree: Any, rng: Random, value: Any) -> tuple[Any, tuple]:
    """A copy of nested dicts and lists in which one node, drawn evenly, is another; and the way to it."""
    ways: list[tuple] = []

    def walk(node: Any, way: tuple) -> None:
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list | tuple) else ()
        for key, child in items:
            ways.append((*way, key))
            walk(child, (*way, key))

    walk(tree, ())
    way = rng.choice(ways) if ways else ()
    return _put(tree, way, value), way


def _put(node: Any, way: tuple, value: Any) -> Any:
    if not way:
        return value
    if isinstance(node, dict):
        return {k: _put(v, way[1:], value) if k == way[0] else v for k, v in node.items()}
    return [_put(v, way[1:], value) if i == way[0] else v for i, v in enumerate(node)]


def be32(value: int) -> bytes:
    """Four bytes, the most significant first."""
    return struct.pack(">I", value % (1 << 32))
