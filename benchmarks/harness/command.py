"""The command line that the scripts share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from harness.contest import PEER_VARIABLE, Arena, Row, count_steps, open_arena, run_row
from harness.report import plain

#: Makes a script's rows; writes into the arena's folder what its contestants share.
Rows = Callable[[Arena, bool], Sequence[Row]]

#: Load up to which a machine counts as idle; the contestants themselves raise it for the rows after the first.
_IDLE = 0.5


def add_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument(
        "--peer-python",
        default=os.environ.get(PEER_VARIABLE),
        help=f"interpreter of the environment that has the peer; by default ${PEER_VARIABLE}",
    )
    parser.add_argument("--threads", type=int, help="of each contestant; by default one per core")
    parser.add_argument("--repetitions", type=int, help="timed rounds, in place of each row's own number")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that everything runs, measures nothing")
    return parser


def arena_options(args: argparse.Namespace) -> dict[str, Any]:
    """What :func:`harness.contest.open_arena` takes of the command line."""
    options = {"peer_python": args.peer_python, "repetitions": args.repetitions, "threads": args.threads}
    return {key: value for key, value in options.items() if value is not None}


def run_rows(
    rows: Sequence[Row], arena: Arena, done: Callable[[str, dict[str, Any]], None] = lambda key, result: None
) -> dict[str, Any]:
    """Measure rows one after the other under a progress bar; ``done`` is told each as soon as it is there."""
    from tqdm import tqdm

    results = {}
    total = sum(count_steps(row, arena) for row in rows)
    with tqdm(total=total, unit="step", file=sys.stderr, mininterval=0.1 if sys.stderr.isatty() else 10.0) as bar:

        def step(text: str) -> None:
            bar.set_description_str(text)
            bar.update()

        arena.on_step = step
        for row in rows:
            results[row.key] = run_row(row, arena)
            load = results[row.key]["machine"]["load_before"]
            if load > _IDLE and row is rows[0]:
                bar.write(f"the machine is busy (load {load}): the figures will say little", file=sys.stderr)
            done(row.key, results[row.key])
    return results


def main(make_rows: Rows, description: str | None, argv: Sequence[str] | None = None) -> None:
    """The command of one script: measure its rows and print them."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = add_options(argparse.ArgumentParser(description=description, formatter_class=formatter))
    args = parser.parse_args(argv)
    with open_arena(**arena_options(args)) as arena:
        print(plain(run_rows(make_rows(arena, args.quick), arena)))
