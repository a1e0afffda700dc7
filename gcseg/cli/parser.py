"""argparse's parser, whose errors are short and name the word that was meant."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

USER_ERROR = 2


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that answers a misspelt word with "Did you mean ...?", and not with the whole usage.

    The innermost parser of the command line is ``args.parser``.
    """

    words: Sequence[str] = ()  # of the command line that is being read; of the class, for the parsers inside

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.set_defaults(parser=self)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's; what nobody knows is told by the parser whose options are meant."""
        Parser.words = sys.argv[1:] if args is None else list(args)
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            found.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as e:
            if action.nargs == argparse.PARSER:  # a command, whose name for people is the list of all of them
                e.argument_name = action.dest
            e.message += _meant([str(value)], map(str, action.choices or ()))
            raise

    def error(self, message: str) -> NoReturn:
        """Say on stderr what is wrong, in a paragraph, and exit with 2."""
        options = [option for option in self._option_string_actions if option.startswith("--")]
        # argparse takes the beginning of an option for the option.
        names = [word.partition("=")[0] for word in self.words if word[:1] == "-" and word.strip("-")[:1].isalpha()]
        wrong = [name for name in names if not any(option.startswith(name) for option in self._option_string_actions)]
        message += _meant(wrong, options)
        stop = "" if message.endswith("?") else "."
        self.exit(USER_ERROR, f"{self.prog}: error: {message}{stop} `{self.prog} --help` says what there is\n")


def _meant(wrong: Iterable[str], known: Iterable[str]) -> str:
    """A question that has the nearest known word of each wrong one; empty where nothing is near."""
    from gcseg.utils.names import nearest

    bare = {word.lstrip("-"): word for word in known}
    close = [f"{bare[found]} instead of {word}" for word in wrong for found in nearest(word.lstrip("-"), bare, n=1)]
    return f". Did you mean {', '.join(close)}?" if close else ""
