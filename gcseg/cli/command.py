"""One command of ``gcseg``, and how it is run: what it prints, and its exit code."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass
from typing import Any

from gcseg.utils.errors import GcsegError

USER_ERROR = 2
_EXIT_CODES = "exit code: 0 done, 1 done and something found wrong, 2 an error you can mend, 130 interrupted"


@dataclass(frozen=True)
class Command:
    """A command and the tool that does the same.

    Attributes:
        name: after ``gcseg``.
        help: one line.
        examples: command lines with a word on each.
        add_options: adds its options to a parser.
        run: does the work; returns the exit code, None for 0.
    """

    name: str
    help: str
    examples: str
    add_options: Callable[[argparse.ArgumentParser], object]
    run: Callable[[argparse.Namespace], int | None]

    def fill(self, parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
        """Make a parser this command's."""
        parser.description = f"{self.help[0].upper()}{self.help[1:]}."
        parser.epilog = f"examples:\n{_indented(self.examples)}\n\n{_EXIT_CODES}"
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        self.add_options(parser)
        parser.set_defaults(run=self.run)
        return parser

    def as_tool(self, prog: str, argv: Sequence[str] | None = None) -> int:
        """Run the command under the name of a script in tools/; returns its exit code."""
        args = self.fill(argparse.ArgumentParser(prog=prog)).parse_args(argv)
        return run_guarded(args.run, args)


def _indented(text: str) -> str:
    return "\n".join(f"  {line.strip()}" for line in text.strip().splitlines())


def run_guarded(run: Callable[[argparse.Namespace], int | None], args: argparse.Namespace) -> int:
    """Run a command, whose exit code is what it returns, or 0.

    Where ``--json`` asks for JSON on the standard output there is nothing else on it; ``args.stdout`` is that output.

    An error the user can mend is one paragraph on stderr and the exit code 2.

    ``GCSEG_TRACEBACK=1`` in the environment shows the traceback instead.
    """
    args.stdout = sys.stdout
    log_apart = redirect_stdout(sys.stderr) if getattr(args, "json", None) == "-" else nullcontext()
    try:
        with log_apart:  # mmengine logs to the standard output
            return run(args) or 0
    except GcsegError as e:
        if os.environ.get("GCSEG_TRACEBACK", "0") not in ("", "0"):
            raise
        print(f"gcseg: error: {_paragraph(e)}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("gcseg: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _paragraph(error: GcsegError) -> str:
    """The error's own text; one that was raised in a data loader's process arrives with that process's traceback."""
    text = str(error).strip()
    if "Original Traceback" in text:
        text = text.rpartition(f"{type(error).__name__}: ")[2]
    return " ".join(text.split())


def show(found: Any, text: str, args: argparse.Namespace) -> None:
    """Print a result, for people or, where ``--json`` asks for it, for programs.

    Args:
        found: what JSON can hold.
        text: the same for people.
        args: with ``json``: None, ``"-"`` for JSON on the standard output, or a file, beside the text.
    """
    if args.json == "-":
        print(json.dumps(found, indent=2), file=args.stdout)
        return
    print(text)
    if args.json is not None:
        from gcseg.utils.atomic import write_atomically

        write_atomically(args.json, (json.dumps(found, indent=2) + "\n").encode())
