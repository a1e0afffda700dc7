"""The decoded store: pixels of images and labels in files that are mapped into memory, so that nothing is decoded.

``gcseg store CONFIG`` writes one (:mod:`gcseg.datasets.converters.store`); the option ``store`` of a data set reads it.
A store is a folder with

* ``index.jsonl``: one line of JSON for each stored file, see :class:`Record`, with its checksum behind it; of several
  lines for a file the last counts, and a last line that breaks off does not;
* ``image/NAME.raw`` and ``label/NAME.raw``: the bytes of an array, rows first, where NAME is the path of the source
  relative to the data set's ``data_root``. Labels are stored as they stand in their files, before any renumbering.

What an item needs is put into its entry of the data set's list, as plain values, and a file is mapped when it is read
and unmapped with its array. So nothing is shared between processes, whether they are forked or spawned.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import os.path as osp
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from gcseg.datasets._files import contents, is_local, shorten, where_it_stops
from gcseg.utils.errors import ConfigError, DataError

INDEX = "index.jsonl"
#: Name of the store's folder in ``data_root`` when nothing else is said.
DEFAULT_FOLDER = "decoded_store"
#: Key of an item -> kind of the file that it names.
KINDS = {"img_path": "image", "seg_map_path": "label"}
_VERSION = 2


class Record(NamedTuple):
    """What the index says of one stored file.

    Attributes:
        kind: ``image`` or ``label``.
        name: path of the source, see :func:`stored_name`.
        size: bytes of the source.
        mtime_ns: when the source was changed.
        decoded: how it was decoded, see ``decoding`` of the loading transforms.
        shape: of the array, (H, W) or (H, W, C); uint8.
        values: of a label, those that occur, ascending; of an image, None.
    """

    kind: str
    name: str
    size: int
    mtime_ns: int
    decoded: str
    shape: tuple[int, ...]
    values: tuple[int, ...] | None = None

    def file(self, folder: str) -> str:
        """Path of the stored array."""
        return osp.join(folder, self.kind, self.name + ".raw")


class Stored(NamedTuple):
    """A stored array as an item of a data set carries it; see :class:`Record`."""

    file: str
    decoded: str
    shape: tuple[int, ...]
    values: tuple[int, ...] | None


def stored_name(path: str, data_root: str | None) -> str:
    """The path relative to ``data_root``, or without its root directory when it lies elsewhere."""
    path = osp.abspath(path)
    if data_root is not None:
        relative = osp.relpath(path, osp.abspath(data_root))
        if not relative.startswith(os.pardir):
            return relative
    return osp.join("root", osp.splitdrive(path)[1].lstrip(os.sep))


def store_folder(store: str | bool, data_root: str | None, owner: str) -> str:
    """The folder that the option ``store`` of a data set means; True is the default folder in ``data_root``."""
    if store is not True:
        return osp.expanduser(str(store))
    if data_root is None:
        raise ConfigError(f"{owner}: store=True means a folder in data_root, and there is none; give store='FOLDER'")
    return osp.join(data_root, DEFAULT_FOLDER)


def read_index(folder: str) -> dict[tuple[str, str], Record]:
    """Kind and name -> record, of all files in a store; empty when there is no index.

    Raises:
        DataError: another version wrote it, or a line is damaged.
    """
    path = osp.join(folder, INDEX)
    if not osp.isfile(path):
        return {}
    with open(path, "rb") as file:
        head, *lines = file.read().split(b"\n")
    if head != header().encode():
        begin = head[:60].decode("utf-8", "replace")
        raise DataError(
            f"{path!r} begins with {begin!r} and not with {header()!r}: another version of gcseg wrote this store. "
            f"Remove {folder!r} and run `gcseg store` again"
        )
    found = {}
    for number, line in enumerate(lines[:-1], 2):  # behind the last line break is nothing, or a line that broke off
        text, _, checksum = line.rpartition(b" ")
        if checksum != _checksum(text):
            raise DataError(
                f"line {number} of {path!r} is damaged: it does not fit to its checksum. Remove {folder!r} and run "
                "`gcseg store` again"
            )
        kind, name, size, mtime_ns, decoded, shape, values = json.loads(text)
        values = None if values is None else tuple(values)
        found[kind, name] = Record(kind, name, size, mtime_ns, decoded, tuple(shape), values)
    return found


def _checksum(text: bytes) -> bytes:
    return f"{zlib.crc32(text):08x}".encode()


def header() -> str:
    """The first line of an index."""
    return json.dumps({"gcseg store": _VERSION})


def why_stale(record: Record, source: os.stat_result, folder: str) -> str | None:
    """What has happened to the source or to the stored file since it was stored, in a clause; None when nothing."""
    if source.st_size != record.size:
        return f"the file had {record.size} bytes when it was stored and has {source.st_size} now"
    if source.st_mtime_ns != record.mtime_ns:
        return "the file was written again after it was stored"
    try:
        stored = os.stat(record.file(folder)).st_size
    except OSError as error:
        return f"{record.file(folder)!r} cannot be read ({error.strerror})"
    if stored != math.prod(record.shape):
        return f"{record.file(folder)!r} has {stored} bytes in place of {math.prod(record.shape)}"
    return None


def attach_store(
    items: Iterable[dict],
    keys: Iterable[str],
    folder: str,
    data_root: str | None,
    owner: str,
    backend_args: Mapping | None = None,
) -> None:
    """Put ``item['stored']``, key -> :class:`Stored`, into every item.

    Args:
        items: of a data set; changed in place.
        keys: which files of an item are read from the store, among those of :data:`KINDS`.
        folder: of the store.
        data_root: of the data set.
        owner: class of the data set, for errors.
        backend_args: of the data set.

    Raises:
        DataError: the store or a file in it is missing, or is older than its source; names the first.
        ConfigError: the sources are not on a disk.
    """
    remedy = f"Run `gcseg store CONFIG --out {folder}`, which adds what is missing, or leave out store={folder!r}"
    if not osp.isfile(osp.join(folder, INDEX)):
        found = f"{folder!r} {contents(folder)}" if osp.isdir(folder) else where_it_stops(folder)
        raise DataError(f"{owner}: there is no decoded store in {folder!r}; {found}. {remedy}")
    index = read_index(folder)
    keys = tuple(keys)
    missing, stale, number = [], [], 0
    for item in items:
        stored = {}
        for key in keys:
            path = item.get(key)
            if path is None:
                continue
            number += 1
            record, why = _find(index, KINDS[key], path, folder, data_root, owner, backend_args)
            if record is None:
                missing.append(path)
            elif why is not None:
                stale.append((path, why))
            else:
                stored[key] = Stored(record.file(folder), record.decoded, record.shape, record.values)
        item["stored"] = stored
    if missing:
        raise DataError(
            f"{owner}: {len(missing)} of {number} files are not in the decoded store {folder!r}, which holds "
            f"{len(index)}: {shorten(missing, 2)}. {remedy}"
        )
    if stale:
        raise DataError(
            f"{owner}: {len(stale)} of {number} files are not as they are in the decoded store {folder!r}; of the "
            f"first, {stale[0][0]!r}, {stale[0][1]}. {remedy}"
        )


def _find(
    index: Mapping[tuple[str, str], Record],
    kind: str,
    path: str,
    folder: str,
    data_root: str | None,
    owner: str,
    backend_args: Mapping | None,
) -> tuple[Record | None, str | None]:
    """The record of a source, and why it is stale."""
    if not is_local(path, backend_args):
        raise ConfigError(f"{owner}: {path!r} is not on a disk; a decoded store is for files that are. Leave out store")
    record = index.get((kind, stored_name(path, data_root)))
    if record is None:
        return None, None
    try:
        return record, why_stale(record, os.stat(path), folder)
    except OSError as error:
        return record, f"it cannot be read ({error.strerror})"


def open_stored(stored: Stored, path: str, decoding: str) -> np.ndarray:
    """The array of a stored file, read-only; from the disk come only the pages that are looked at.

    Args:
        stored: the entry of the item.
        path: of the source, for errors.
        decoding: how it would be decoded now.

    Raises:
        DataError: the stored file is missing or has another length.
        ConfigError: it was decoded in another way.
    """
    if stored.decoded != decoding:
        raise ConfigError(
            f"the decoded store has {path!r} as {stored.decoded} but the pipeline loads it as {decoding}. Run "
            "`gcseg store` again with this config, or leave out the option store of the data set"
        )
    try:
        with open(stored.file, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size != math.prod(stored.shape):
                raise DataError(
                    f"{stored.file!r} in the decoded store has {size} bytes in place of {math.prod(stored.shape)}; run "
                    "`gcseg store` again"
                )
            pixels = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    except OSError as error:
        raise DataError(
            f"{stored.file!r} in the decoded store cannot be read ({error.strerror}); run `gcseg store` again"
        ) from error
    return np.frombuffer(pixels, np.uint8).reshape(stored.shape)


def stored_entry(results: Mapping[str, Any], key: str) -> Stored | None:
    """The stored form of the file that ``results[key]`` names, if the data set has a store."""
    return (results.get("stored") or {}).get(key)


def lines_of(records: Iterable[Record]) -> Iterator[str]:
    """The lines of an index, without line breaks."""
    for record in records:
        text = json.dumps(list(record), separators=(",", ":"))  # ASCII
        yield f"{text} {_checksum(text.encode()).decode()}"
