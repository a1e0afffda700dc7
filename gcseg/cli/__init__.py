"""The command ``gcseg``, and what the scripts in tools/ share with it.

Parsing loads neither torch nor mmengine: ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from gcseg.cli.benchmark import BENCHMARK
from gcseg.cli.command import Command, run_guarded
from gcseg.cli.data import CHECK, STORE
from gcseg.cli.export import EXPORT
from gcseg.cli.options import parse_cfg_options
from gcseg.cli.parser import USER_ERROR, Parser
from gcseg.cli.predict import PREDICT
from gcseg.cli.recipes import CONFIGS, ZOO
from gcseg.cli.report import REPORT
from gcseg.cli.training import DEMO, TEST, TRAIN, test_parser, train_parser
from gcseg.version import __version__

__all__ = [
    "COMMANDS",
    "Command",
    "Parser",
    "check_main",
    "main",
    "parse_cfg_options",
    "run_guarded",
    "test_main",
    "test_parser",
    "train_main",
    "train_parser",
]

COMMANDS = (TRAIN, TEST, PREDICT, DEMO, BENCHMARK, CHECK, STORE, CONFIGS, ZOO, REPORT, EXPORT)


def main(argv: Sequence[str] | None = None) -> int:
    """The command ``gcseg``."""
    parser = Parser(
        prog="gcseg",
        description="GCNet for semantic segmentation. `gcseg COMMAND --help` has the options and examples of each.",
    )
    parser.add_argument("--version", action="version", version=f"gcseg {__version__}")
    names = ",".join(command.name for command in COMMANDS)
    commands = parser.add_subparsers(dest="command", metavar=f"{{{names}}}")
    for command in COMMANDS:
        command.fill(commands.add_parser(command.name, help=command.help))
    _complete(parser)
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help()
        return USER_ERROR
    return run_guarded(args.run, args)


def _complete(parser: argparse.ArgumentParser) -> None:
    if "_ARGCOMPLETE" in os.environ:  # a shell that asks for completions
        try:
            import argcomplete
        except ImportError:
            print("gcseg: completion needs the package argcomplete: pip install argcomplete", file=sys.stderr)
            return
        argcomplete.autocomplete(parser)


def train_main(argv: Sequence[str] | None = None) -> int:
    """The command of tools/train.py."""
    return TRAIN.as_tool("train.py", argv)


def test_main(argv: Sequence[str] | None = None) -> int:
    """The command of tools/test.py."""
    return TEST.as_tool("test.py", argv)


test_main.__test__ = False  # type: ignore[attr-defined]  # not a test case


def check_main(argv: Sequence[str] | None = None) -> int:
    """The command of tools/analysis_tools/check_dataset.py."""
    return CHECK.as_tool("check_dataset.py", argv)
