"""How long the package and its commands keep one waiting, each time in a new process.

The import is timed behind `import torch`, which takes the same on both sides.

python benchmarks/startup.py
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from harness.command import main
from harness.contest import ROOT, Arena, Comparison, Contestant, Row
from harness.work import Work

_IMPORT = "import time, torch; start = time.perf_counter(); import {package}; print(time.perf_counter() - start)"


class Import(Work):
    """Seconds that the import of a side's package takes after that of torch."""

    def __init__(self, side: str) -> None:
        package = {"gcseg": "gcseg", "peer": "mmseg"}[side]
        self.command = [sys.executable, "-W", "ignore", "-c", _IMPORT.format(package=package)]

    def run(self) -> float:
        done = subprocess.run(self.command, check=True, capture_output=True, text=True)
        return float(done.stdout.splitlines()[-1])


class Help(Work):
    """``tools/test.py --help``, from the first to the last moment of its process."""

    def __init__(self, side: str) -> None:
        if side == "gcseg":
            tools = ROOT / "tools"
        else:
            spec = find_spec("mmseg")  # does not import it
            assert spec is not None and spec.origin is not None
            tools = Path(spec.origin).parent / ".mim" / "tools"
        self.command = [sys.executable, str(tools / "test.py"), "--help"]

    def run(self) -> None:
        subprocess.run(self.command, check=True, capture_output=True)


def rows(arena: Arena, quick: bool) -> list[Row]:
    pair = (Contestant("peer", "peer"), Contestant("gcseg", "gcseg"))
    shared = dict(script="startup.py", contestants=pair, repetitions=2 if quick else 7, show_memory=False)
    return [
        Row(
            key="startup_import",
            title="import of the package, after that of torch",
            work="startup:Import",
            comparisons=[Comparison("as published", "peer", "gcseg", limit=0.3)],
            **shared,
        ),
        Row(
            key="startup_help",
            title="`tools/test.py --help`",
            work="startup:Help",
            comparisons=[Comparison("as published", "peer", "gcseg", limit=1.0)],
            **shared,
        ),
    ]


if __name__ == "__main__":
    main(rows, __doc__)
