"""Writing a decoded store, which :mod:`gcseg.datasets.store` describes and reads."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
from PIL import Image

from gcseg.datasets._files import is_local
from gcseg.datasets.basesegdataset import BaseSegDataset
from gcseg.datasets.converters._work import raise_failures
from gcseg.datasets.store import INDEX, Record, header, lines_of, read_index, stored_name, why_stale
from gcseg.datasets.transforms.loading import LoadAnnotations, LoadImageFromFile
from gcseg.utils.atomic import new_file, write_atomically
from gcseg.utils.errors import ConfigError, DataError
from gcseg.utils.progress import progress

_BLOCK = 4096  # what a file system gives at a time


class _Source(NamedTuple):
    """A file to decode."""

    kind: str
    name: str
    path: str
    loader: Any


class StoreReport(NamedTuple):
    """What :func:`write_store` did.

    Attributes:
        written: number of files decoded now.
        kept: number of files that were in the store already.
        size: bytes of the pixels of both.
    """

    written: int
    kept: int
    size: int


def write_store(
    datasets: Sequence[BaseSegDataset],
    folder: Path | str,
    threads: int | None = None,
    say: Callable[[str], None] = print,
) -> StoreReport:
    """Decode all images and labels of data sets into one decoded store.

    A file that is in the store, and has not changed since, is not decoded again, so that a call that was interrupted
    is gone on with by the next one. A stored file is complete or absent, and it comes into the index after that.

    Args:
        datasets: with the pipelines whose loading transforms are to be served.
        folder: the store; made if it is not there.
        threads: how many decode at once; None takes the number of processors, 8 at most.
        say: called with one line before the work begins: how much is to be written, and how much room there is.

    Raises:
        DataError: the disk has not enough room, or files cannot be read; names them.
        ConfigError: a data set has no files on a disk, its pipeline loads none, or there is no thread.
    """
    root = Path(folder).expanduser()
    if threads is None:
        threads = min(8, os.cpu_count() or 1)
    if threads < 1:
        raise ConfigError(f"threads={threads}: at least one decodes; leave it out for one per processor")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _only_one(root):
            index = read_index(str(root))
            sources = _sources(datasets)
            fresh, todo = [], []
            for source in sources:
                record = index.get((source.kind, source.name))
                same = record is not None and record.decoded == source.loader.decoding
                if record is not None and same and why_stale(record, _stat(source), str(root)) is None:
                    fresh.append(record)
                else:
                    todo.append(source)
            with ThreadPoolExecutor(threads) as pool:
                sizes = list(
                    progress(
                        pool.map(_pixels, todo), total=len(todo), desc="reading sizes", unit="file", disable=not todo
                    )
                )
            _check_room(root, todo, sizes, len(fresh), say)
            written = _write_all(root, index, todo, threads) if todo else []
    except OSError as error:
        raise DataError(
            f"the decoded store {str(root)!r} cannot be written ({error.strerror or error}); give a folder that can be "
            "by --out"
        ) from error
    return StoreReport(len(written), len(fresh), sum(math.prod(record.shape) for record in (*fresh, *written)))


def _sources(datasets: Sequence[BaseSegDataset]) -> list[_Source]:
    """All files that the pipelines load, each once."""
    found: dict[tuple[str, str], _Source] = {}
    for dataset in datasets:
        owner = type(dataset).__name__
        loaders: dict[str, tuple[str, Any]] = {}
        for transform in dataset.pipeline.transforms:
            for key, kind, loading in (
                ("img_path", "image", LoadImageFromFile),
                ("seg_map_path", "label", LoadAnnotations),
            ):
                if isinstance(transform, loading):
                    loaders.setdefault(key, (kind, transform))
        if not loaders:
            raise ConfigError(
                f"{owner}: its pipeline has neither LoadImageFromFile nor LoadAnnotations; nothing to store"
            )
        dataset.full_init()
        for place in range(len(dataset)):
            item = dataset.get_data_info(place)
            for key, (kind, loader) in loaders.items():
                path = item.get(key)
                if path is None:
                    continue
                if not is_local(path, loader.backend_args):
                    raise ConfigError(f"{owner}: {path!r} is not on a disk; a decoded store is for files that are")
                name = stored_name(path, dataset.data_root)
                known = found.setdefault((kind, name), _Source(kind, name, path, loader))
                if os.path.abspath(known.path) != os.path.abspath(path):
                    raise ConfigError(
                        f"{owner}: {path!r} and {known.path!r} would both be {name!r} in one decoded store; write one "
                        "store for each data_root, with --out"
                    )
    return list(found.values())


def _stat(source: _Source) -> os.stat_result:
    try:
        return os.stat(source.path)
    except OSError as error:
        raise DataError(f"{source.kind} {source.path!r} cannot be read: {error.strerror}") from error


def _pixels(source: _Source) -> int:
    """Bytes of the decoded file, from its head; 0 when that cannot be read, which the decoder will say better."""
    try:
        with Image.open(source.path) as image:
            channels = 3 if source.kind == "image" and source.loader.color_type.startswith("color") else 1
            if source.kind == "image" and source.loader.color_type == "unchanged":
                channels = len(image.getbands())
            return image.width * image.height * channels
    except (OSError, SyntaxError, ValueError):
        return 0


def _check_room(
    root: Path, todo: Sequence[_Source], sizes: Sequence[int], kept: int, say: Callable[[str], None]
) -> None:
    needed = sum(-(-size // _BLOCK) * _BLOCK for size in sizes)
    free = shutil.disk_usage(root).free
    already = f", {kept} are there already" if kept else ""
    say(f"{len(todo)} files to decode{already}: {readable(needed)} to write into {root}, {readable(free)} free")
    if needed > free:
        raise DataError(
            f"the decoded store needs {readable(needed)} in {str(root)!r} but there are {readable(free)} free; make "
            "room, or give a folder on another disk by --out"
        )


def readable(size: float) -> str:
    """A number of bytes in words: ``1.5 GiB``."""
    units = ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        del units[0]
    return f"{size:.0f} {units[0]}" if units[0] == "bytes" else f"{size:.1f} {units[0]}"


def _write_all(root: Path, index: dict, todo: Sequence[_Source], threads: int) -> list[Record]:
    """Decode and store files in a few threads (the decoders work outside the interpreter's lock)."""
    old = {(source.kind, source.name) for source in todo}
    _rewrite_index(root, [record for key, record in index.items() if key not in old])
    written, failures = [], []
    with ThreadPoolExecutor(threads) as pool, (root / INDEX).open("a", encoding="utf-8") as file:
        done = pool.map(partial(_write_one, root), todo)
        try:
            for record in progress(done, total=len(todo), desc="decoding", unit="file"):
                if isinstance(record, str):
                    failures.append(record)
                else:
                    _append(file, record)
                    written.append(record)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    raise_failures(failures, len(todo), "stored")
    return written


def _write_one(root: Path, source: _Source) -> Record | str:
    """The record of a file that is stored now, or the words of a DataError."""
    try:
        before = _stat(source)  # a file that is changed meanwhile is then stale
        array = source.loader.decode(source.path)
        if array.dtype != np.uint8:
            raise DataError(
                f"{source.kind} {source.path!r} has {array.dtype} pixels; a decoded store is for images of 8 bits a "
                "channel"
            )
    except DataError as error:
        return str(error)
    values = (
        tuple(np.flatnonzero(np.bincount(array.ravel(), minlength=256)).tolist()) if source.kind == "label" else None
    )
    record = Record(
        source.kind, source.name, before.st_size, before.st_mtime_ns, source.loader.decoding, array.shape, values
    )
    file = Path(record.file(str(root)))
    with new_file(file) as out:
        out.write(np.ascontiguousarray(array).data)
    return record


def _rewrite_index(root: Path, records: Iterable[Record]) -> None:
    """Write the index anew, without the files that are to be replaced, and without a line that broke off."""
    write_atomically(root / INDEX, "".join(line + "\n" for line in (header(), *lines_of(records))).encode())


def _append(file: TextIO, record: Record) -> None:
    file.writelines(line + "\n" for line in lines_of([record]))
    file.flush()


@contextmanager
def _only_one(root: Path) -> Iterator[None]:
    """Hold a lock that dies with the process; where the file system has none, go on without."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with (root / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(
                f"another `gcseg store` is writing into {str(root)!r}; wait until it has finished"
            ) from None
        except OSError:
            pass
        yield
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)
