"""Measure everything, or some of it, and write the figures of docs/performance.md.

    python benchmarks/run_all.py --peer-python .venv-parity/bin/python
    python benchmarks/run_all.py --only miou train_step
    python benchmarks/run_all.py --list
    python benchmarks/run_all.py --merge from_the_gpu_machine/performance.json

Each row that is finished is written at once: the samples to performance.json, the tables between the markers of
performance.md. Rows that are not measured now, or cannot be measured here but were elsewhere, stay as they are.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from harness.command import add_options, arena_options, run_rows
from harness.contest import ROOT, Arena, Row, open_arena
from harness.report import load, plain, save, update_page

#: In the order of the table.
SCRIPTS = (
    "whole_inference",
    "slide_inference",
    "ms_flip",
    "train_step",
    "upsample_loss",
    "train_pipeline",
    "miou",
    "gpu_training",
    "startup",
    "ceilings",
)


def all_rows(arena: Arena, quick: bool) -> list[Row]:
    """The rows of all scripts."""
    return [row for script in SCRIPTS for row in import_module(script).rows(arena, quick)]


def in_order(results: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Results in the order of the table; rows that no longer exist fall out."""
    return {key: results[key] for key in keys if key in results}


def overlay(stored: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """``stored`` with the rows of ``new``, except those in which nothing was measured although it was before."""
    return {**stored, **{key: row for key, row in new.items() if key not in stored or _was_measured(row)}}


def _was_measured(row: dict[str, Any]) -> bool:
    return any(contestant["seconds"] for contestant in row["contestants"].values())


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = add_options(argparse.ArgumentParser(description=__doc__, formatter_class=formatter))
    parser.add_argument("--only", nargs="+", metavar="ROW", help="these rows; --list names them")
    parser.add_argument("--list", action="store_true", help="name the rows and stop")
    parser.add_argument("--tables", action="store_true", help="measure nothing, write the tables of the stored samples")
    parser.add_argument(
        "--merge", type=Path, metavar="FILE", help="measure nothing, take over the rows of another performance.json"
    )
    parser.add_argument(
        "--out", type=Path, help="folder of performance.md and performance.json; docs/ by default, none with --quick"
    )
    args = parser.parse_args(argv)
    if args.merge and not args.merge.is_file():
        parser.error(f"--merge {args.merge}: no such file")
    out = args.out or (None if args.quick else ROOT / "docs")
    with open_arena(**arena_options(args)) as arena:
        rows = {row.key: row for row in all_rows(arena, args.quick)}
        unknown = set(args.only or ()) - set(rows)
        if unknown:
            parser.error(f"--only {' '.join(sorted(unknown))}: no such row; there are {', '.join(rows)}")
        if args.list:
            print("\n".join(f"{key:20} {row.title}" for key, row in rows.items()))
            return
        stored = load(out / "performance.json") if out else {}

        def write(new: dict[str, Any]) -> None:
            if out:
                results = in_order(overlay(stored, new), list(rows))
                save(out / "performance.json", results)
                update_page(out / "performance.md", results)
                stored.update(results)

        write(load(args.merge) if args.merge else {})  # also: a page without markers is to be known at once
        if not (args.tables or args.merge):
            chosen = [row for key, row in rows.items() if not args.only or key in args.only]
            print(plain(run_rows(chosen, arena, done=lambda key, result: write({key: result}))))


if __name__ == "__main__":
    main()
