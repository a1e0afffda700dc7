"""What converters share: many files in several processes, and files that are complete or absent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from PIL import Image

from gcseg.utils.atomic import new_file, write_atomically
from gcseg.utils.errors import ConfigError, DataError
from gcseg.utils.progress import progress

T = TypeVar("T")
_SHOWN = 3


class _Guarded(Generic[T]):
    """Calls ``function`` and returns the text of a DataError instead of raising it."""

    def __init__(self, function: Callable[[T], None]) -> None:
        self.function = function

    def __call__(self, item: T) -> str | None:
        try:
            self.function(item)
        except DataError as error:
            return str(error)
        return None


def for_each(function: Callable[[T], None], items: Sequence[T], nproc: int, desc: str) -> None:
    """Call ``function`` on every item with a progress bar.

    A file that cannot be converted does not keep the others from being converted.

    Args:
        function: what to do; importable from its module when ``nproc`` is above 1.
        items: on what.
        nproc: number of processes.
        desc: the words before the bar.

    Raises:
        DataError: for some items; the text has the message of each of the first few.
    """
    if nproc < 1:
        raise ConfigError(f"--nproc {nproc}: give the number of processes, 1 or more")
    guarded = _Guarded(function)
    failures = [message for message in progress(_results(guarded, items, nproc), len(items), desc, "file") if message]
    raise_failures(failures, len(items), "converted")


def raise_failures(failures: Sequence[str], count: int, done: str) -> None:
    """Say what failed while the rest was done; nothing when nothing failed.

    Args:
        failures: a message for each item that failed.
        count: number of all items.
        done: what was done to the others, a participle.

    Raises:
        DataError: has the first few messages.
    """
    if failures:
        more = f" ... and {len(failures) - _SHOWN} more." if len(failures) > _SHOWN else ""
        others = ", the others were" if len(failures) < count else ""
        raise DataError(
            f"{len(failures)} of {count} files could not be {done}{others}: " + " ".join(failures[:_SHOWN]) + more
        )


def _results(function: Callable[[T], str | None], items: Sequence[T], nproc: int) -> Iterator[str | None]:
    if nproc == 1 or len(items) < 2:
        yield from map(function, items)
        return
    with ProcessPoolExecutor(min(nproc, len(items)), mp_context=get_context("spawn")) as pool:
        yield from pool.map(function, items, chunksize=max(1, min(16, len(items) // (4 * nproc))))


def write_label(label: np.ndarray, file: Path) -> None:
    """Write an index map (H, W) uint8 as a one-channel PNG; the file appears complete or not at all."""
    with new_file(file) as f:
        Image.fromarray(label).save(f, format="PNG")


def write_lines(lines: Sequence[str], file: Path) -> None:
    """Write a list, one name a line; the file appears complete or not at all."""
    write_atomically(file, "".join(line + "\n" for line in lines).encode())
