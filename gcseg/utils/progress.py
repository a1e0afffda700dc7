"""One progress bar for all long loops."""

from __future__ import annotations

import sys
from collections.abc import Iterable
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
        mininterval=interval,
        file=sys.stderr,
    )
