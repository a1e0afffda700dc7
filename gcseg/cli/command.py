"""One command of ``gcseg``, and how it is run: what it prints, and its exit code."""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from traceback import walk_tb
from typing import Any

from gcseg.cli.parser import USER_ERROR, Parser
from gcseg.utils.errors import GcsegError
from gcseg.utils.plain import plain

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
        args = self.fill(Parser(prog=prog)).parse_args(argv)
        return run_guarded(args.run, args)


def _indented(text: str) -> str:
    return "\n".join(f"  {line.strip()}" for line in text.strip().splitlines())


def run_guarded(run: Callable[[argparse.Namespace], int | None], args: argparse.Namespace) -> int:
    """Run a command, whose exit code is what it returns, or 0.

    Where ``--json`` asks for JSON on the standard output there is nothing else on it; ``args.stdout`` is that output.
    A file that cannot be written is an error before the work begins.

    An error the user can mend, or of the system about a file, is one paragraph on stderr and the exit code 2.

    ``GCSEG_TRACEBACK=1`` in the environment shows the traceback instead.
    """
    args.stdout = sys.stdout
    target = getattr(args, "json", None)
    log_apart = redirect_stdout(sys.stderr) if target == "-" else nullcontext()
    try:
        if target not in (None, "-"):
            from gcseg.utils.writable import check_writable

            check_writable(target, f"--json {target}")
        with log_apart, _warnings_in_words():  # mmengine logs to the standard output
            return run(args) or 0
    except KeyboardInterrupt:
        print("gcseg: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (GcsegError, ImportError, OSError) as e:
        if _from_interrupt(e):
            print("gcseg: interrupted", file=sys.stderr)
            return 130
        text = _in_words(e)
        if not text or os.environ.get("GCSEG_TRACEBACK", "0") not in ("", "0"):
            raise
        print(f"gcseg: error: {text}", file=sys.stderr)
        return USER_ERROR


@contextmanager
def _warnings_in_words() -> Iterator[None]:
    """Our own warnings are a line for the user, without the place in the program that they come from."""
    standard, ours = warnings.formatwarning, str(Path(__file__).parents[1]) + os.sep

    def in_words(message: Any, category: Any, filename: str, lineno: int, line: str | None = None) -> str:
        if category is UserWarning and filename.startswith(ours):
            return f"gcseg: warning: {' '.join(str(message).split())}\n"
        return standard(message, category, filename, lineno, line)

    warnings.formatwarning = in_words
    try:
        yield
    finally:
        warnings.formatwarning = standard


def _from_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind it: while mmengine lays out a config, it makes a SyntaxError of whatever comes."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _in_words(error: GcsegError | ImportError | OSError) -> str:
    """What the user can mend; nothing where it is an error of the program."""
    if isinstance(error, GcsegError):
        return _paragraph(error)
    if isinstance(error, ImportError):
        return _of_opencv(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT) and not error.filename:  # of the output, or a file of a library's
        return f"{error.strerror}; nothing more can be written"
    return f"{error.filename}: {error.strerror}" if error.filename and error.strerror else ""


def _paragraph(error: GcsegError) -> str:
    """The error's own text; one that was raised in a data loader's process arrives with that process's traceback."""
    text = str(error).strip()
    if "Original Traceback" in text:
        text = text.rpartition(f"{type(error).__name__}: ")[2]
    return " ".join(text.split())


def _of_opencv(error: ImportError) -> str:
    """What to do where OpenCV cannot be loaded; nothing for other packages."""
    if all(frame.f_globals.get("__name__") != "cv2" for frame, _ in walk_tb(error.__traceback__)):
        return ""
    return (
        f"OpenCV cannot be loaded ({error}). Its usual package needs the libraries of a screen; on a machine without "
        "them: pip uninstall --yes opencv-python; pip install --force-reinstall --no-deps opencv-python-headless"
    )


def show(found: Any, text: str, args: argparse.Namespace) -> None:
    """Print a result, for people or, where ``--json`` asks for it, for programs; of several processes the first does.

    Args:
        found: what :func:`gcseg.utils.plain.plain` makes JSON of; a number that is not finite becomes null.
        text: the same for people.
        args: with ``json``: None, ``"-"`` for JSON on the standard output, or a file, beside the text.
    """
    dist = sys.modules.get("mmengine.dist")  # not loaded: there is one process
    if dist is not None and not dist.is_main_process():
        return
    content = json.dumps(plain(found), indent=2, allow_nan=False)
    if args.json == "-":
        print(content, file=args.stdout)
        return
    print(text)
    if args.json is not None:
        from gcseg.utils.atomic import write_atomically
        from gcseg.utils.writable import writing

        with writing(f"--json {args.json}"):
            write_atomically(args.json, f"{content}\n".encode())
