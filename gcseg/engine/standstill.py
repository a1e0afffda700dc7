"""Where every process is when a run of several stands still.

Processes that wait for each other in a collective operation say nothing, for half an hour by default, and then only
that it timed out. So each notes where it is; when rank 0 has not moved for a minute and others are elsewhere, it says
who is where, and all write down their stacks. Nothing is ended: a checkpoint may take long.
"""

from __future__ import annotations

import faulthandler
import sys
from pathlib import Path
from typing import Any

PATIENCE = 60.0  # seconds without a move before it is told; then after twice as long, and so on


class Standstill:
    """One process's note of where it is.

    Args:
        store: shared by the processes.
        rank: of this process.
        size: number of processes.
        patience: seconds, see the constant above.
    """

    def __init__(self, store: Any, rank: int, size: int, patience: float = PATIENCE) -> None:
        self.store, self.rank, self.size = store, rank, size
        self.folder: Path | None = None
        self._patience = self._wait = patience
        self._place = "at its beginning"
        self._written, self._moved_at = "", 0.0
        self._reports = "0"

    def note(self, place: str) -> None:
        """Say where this process is ("in iteration 3"); cheap enough for every iteration."""
        self._place = place

    def look(self, now: float) -> None:
        """Tell the others where this process is, and on rank 0 report a standstill; called every few seconds.

        Raises:
            RuntimeError: the store is gone.
        """
        place = self._place
        if place != self._written:
            self.store.set(f"place{self.rank}", place)
            self._written, self._moved_at, self._wait = place, now, self._patience
        elif self.rank == 0 and now - self._moved_at > self._wait:
            self._wait *= 2
            self._report(now - self._moved_at)
        if self.folder is not None and self.store.check(["reports"]):
            reports = self.store.get("reports").decode()
            if reports != self._reports:
                self._reports = reports
                self._write_stacks(self.folder)

    def _report(self, seconds: float) -> None:
        ranks: dict[str, list[str]] = {}
        for rank in range(self.size):
            key = f"place{rank}"
            place = self.store.get(key).decode() if self.store.check([key]) else "not heard of"
            ranks.setdefault(place, []).append(str(rank))
        if len(ranks) == 1:  # a compilation, or a large batch
            return
        places = "; ".join(f"rank {', '.join(who)}: {place}" for place, who in ranks.items())
        stacks = f"; what each is doing: {self.folder}/stack_rank*.txt" if self.folder else ""
        print(
            f"gcseg: rank 0 has not moved for {seconds:.0f} s. {places}. Whoever is in an iteration may be waiting "
            f"there for whoever is not{stacks}",
            file=sys.stderr,
            flush=True,
        )
        self.store.add("reports", 1)

    def _write_stacks(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with open(folder / f"stack_rank{self.rank}.txt", "w", encoding="utf-8") as file:
                faulthandler.dump_traceback(file, all_threads=True)
        except OSError as e:  # a full disk may be why nothing moves
            print(f"gcseg: rank {self.rank} cannot write its stack: {e}", file=sys.stderr, flush=True)
