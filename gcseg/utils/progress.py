"""One progress bar for all long loops, and words for what is long and no loop."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


def progress(
    iterable: Iterable[T] | None = None,
    total: int | None = None,
    desc: str = "",
    unit: str = "it",
    disable: bool = False,
    initial: int = 0,
    unit_scale: bool = False,
    leave: bool = True,
) -> Iterable[T]:
    """Wrap ``iterable`` in a tqdm bar on stderr.

    On a terminal the bar moves ten times a second; in a log file it prints a line every ten seconds at most.

    Args:
        iterable: what to loop over; None gives a bar to ``update`` by hand.
        total: number of items, when ``iterable`` has no length.
        desc: the words before the bar.
        unit: name of one item.
        disable: no bar at all.
        initial: how many items are done already.
        unit_scale: print thousands as k, millions as M ...
        leave: let the bar stand when it is done.
    """
    from tqdm import tqdm

    interval = 0.1 if sys.stderr.isatty() else 10.0
    return tqdm(
        iterable,
        total=total,
        desc=desc,
        unit=unit,
        disable=disable,
        initial=initial,
        unit_scale=unit_scale,
        leave=leave,
        dynamic_ncols=True,
        mininterval=interval,
        file=sys.stderr,
    )


@contextmanager
def announced(what: str, every: float = 10) -> Iterator[None]:
    """Say on stderr what begins, and every so many seconds that it goes on: for work of others that is silent."""
    done, began = threading.Event(), time.monotonic()

    def tell() -> None:
        print(f"{what} ...", file=sys.stderr, flush=True)
        while not done.wait(every):
            print(f"{what}: {time.monotonic() - began:.0f} s so far", file=sys.stderr, flush=True)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
