"""Reading one array out of a MATLAB file (level 5, which ``save`` writes by default), and nothing else.

A file is a header of 128 bytes and elements. An element is a tag, which holds a type and a number of bytes, and so many
bytes, padded to a multiple of eight; what fits into four bytes stands in the tag itself. A matrix is an element of
elements: flags with its class, its size, its name, and what it holds. The format is described in "MAT-File Format",
The MathWorks. scipy's reader brings the interpreter down on some damaged files; this one cannot.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from gcseg.utils.signatures import shortened

_HEADER = 128
_INT32, _MATRIX, _PACKED = 5, 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_STRUCT = 2
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_LARGEST = 1 << 28  # bytes of an unpacked element; an annotation has a few hundred thousand


class _Element(NamedTuple):
    kind: int
    body: bytes


class _Matrix(NamedTuple):
    number: int
    is_complex: bool
    shape: tuple[int, ...]
    name: str
    parts: list[_Element]


def read_field(content: bytes, variable: str, field: str) -> np.ndarray:
    """The array ``variable.field`` of a file, where ``variable`` is a struct of one element.

    Args:
        content: the file.
        variable: name of a struct.
        field: name of an array of numbers in it.

    Returns:
        The array, in the machine's byte order.

    Raises:
        ValueError: it is not there, or the file is damaged; says what was found.
    """
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None or content[_HEADER - 4 : _HEADER - 2] != (b"\x00\x01" if order == "<" else b"\x01\x00"):
        raise ValueError("no MATLAB file of level 5")
    found = []
    for element in _elements(content[_HEADER:], order):
        if element.kind == _PACKED:
            element = next(_elements(_unpacked(element.body), order), element)
        if element.kind != _MATRIX:
            raise ValueError(f"an element of type {element.kind} where a matrix is expected")
        matrix = _matrix(element.body, order)
        if matrix.name == variable:
            return _array(_field(matrix, field, order), order)
        found.append(matrix.name)
    raise ValueError(f"no {variable}; it holds {_listed(found)}")


def _listed(names: list[str]) -> str:
    return ", ".join(shortened(name, 40) for name in names[:8]) or "nothing"


def _elements(data: bytes, order: str) -> Iterator[_Element]:
    byteorder = "little" if order == "<" else "big"
    at = 0
    while at < len(data):
        kind = int.from_bytes(data[at : at + 4], byteorder)  # type: ignore[arg-type]
        size = int.from_bytes(data[at + 4 : at + 8], byteorder)  # type: ignore[arg-type]
        start = at + 8
        if kind >> 16:  # a small element: its size in the upper half of the type
            kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
            if size > 4:
                raise ValueError(f"a small element of {size} bytes")
            at += 8
        else:
            at = start + size + (-size % 8 if kind != _PACKED else 0)
        if start + size > len(data):
            raise ValueError(f"an element of {size} bytes where {max(0, len(data) - start)} are left")
        yield _Element(kind, data[start : start + size])


def _unpacked(body: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(body, _LARGEST)
    except zlib.error as error:
        raise ValueError(f"packed data are damaged: {error}") from error
    if not inflater.eof:  # the checksum stands at the end
        raise ValueError("packed data break off")
    return data


def _matrix(body: bytes, order: str) -> _Matrix:
    parts = list(_elements(body, order))
    if len(parts) < 3 or len(parts[0].body) != 8 or parts[1].kind != _INT32:
        raise ValueError("a matrix without class, size and name")
    flags = int(np.frombuffer(parts[0].body, f"{order}u4")[0])
    shape = tuple(int(n) for n in _numbers(parts[1], order))
    if len(shape) < 2 or min(shape) < 0:
        raise ValueError(f"a matrix of size {shape}")
    return _Matrix(flags & 0xFF, bool(flags & 0x0800), shape, parts[2].body.decode("latin-1"), parts[3:])


def _field(matrix: _Matrix, field: str, order: str) -> _Matrix:
    """The matrix of a field."""
    if matrix.number != _STRUCT or matrix.shape != (1, 1) or len(matrix.parts) < 2:
        raise ValueError(f"{matrix.name} is no struct of one element")
    length, names = _numbers(matrix.parts[0], order), matrix.parts[1].body
    if length.size != 1 or length[0] < 1:
        raise ValueError(f"{matrix.name} has no names of fields")
    step = int(length[0])
    known = [names[at : at + step].split(b"\0")[0].decode("latin-1") for at in range(0, len(names), step)]
    if field not in known or len(known) != len(matrix.parts) - 2:
        raise ValueError(f"{matrix.name} has no {field}; it has {_listed(known)}")
    element = matrix.parts[2 + known.index(field)]
    if element.kind != _MATRIX:
        raise ValueError(f"{matrix.name}.{field} is no matrix")
    return _matrix(element.body, order)


def _array(matrix: _Matrix, order: str) -> np.ndarray:
    """The numbers of a matrix; they may be stored in a smaller type than that of its class, columns first."""
    if matrix.number not in _CLASSES or matrix.is_complex or len(matrix.parts) != 1:
        raise ValueError("not an array of real numbers")
    numbers = _numbers(matrix.parts[0], order)
    if numbers.size != np.prod(matrix.shape, dtype=object):
        raise ValueError(f"{numbers.size} numbers for a matrix of size {matrix.shape}")
    return numbers.astype(_CLASSES[matrix.number]).reshape(matrix.shape, order="F")


def _numbers(element: _Element, order: str) -> np.ndarray:
    if element.kind not in _NUMBERS:
        raise ValueError(f"an element of type {element.kind} where numbers are expected")
    return np.frombuffer(element.body, order + _NUMBERS[element.kind])  # ValueError when a part of a number is left
