"""Training on without the samples whose files are bad, when the config asks for it (``skip_bad``)."""

from __future__ import annotations

import logging

from mmengine.logging import print_log

from gcseg.datasets._files import shorten
from gcseg.utils.errors import ConfigError, DataError


class BadFiles:
    """The samples that one process could not read, each counted once.

    Args:
        allowed: how many may be left out.
        owner: class of the data set, for messages.

    Attributes:
        found: path of the image -> what is wrong with it or with its label.

    Raises:
        ConfigError: ``allowed`` is no whole number from 0.
    """

    def __init__(self, allowed: int, owner: str) -> None:
        if isinstance(allowed, bool) or not isinstance(allowed, int) or allowed < 0:
            raise ConfigError(
                f"{owner}: skip_bad={allowed!r}; give the number of bad samples that training may leave out, 0 for none"
            )
        self.allowed, self.owner = allowed, owner
        self.found: dict[str, str] = {}

    def add(self, image: str, error: DataError) -> None:
        """Count a bad sample, with a warning when it is met for the first time.

        Raises:
            DataError: there are more than allowed; names all of them.
        """
        if image in self.found:
            return
        self.found[image] = " ".join(str(error).split())
        number = len(self.found)
        if number > self.allowed:
            raise self.too_many() from error
        print_log(
            f"skip_bad: left out sample {number} of at most {self.allowed} in this process; the next in the list takes "
            f"its place: {self.found[image]}",
            "current",
            logging.WARNING,
        )

    def too_many(self) -> DataError:
        """The error that ends the run."""
        *others, last = self.found
        before = f" Bad before it: {shorten(others, 20)}." if others else ""
        return DataError(
            f"{self.owner}: {len(self.found)} samples cannot be read and skip_bad={self.allowed} allows to leave out "
            f"{self.allowed} in one process. The last: {self.found[last]}.{before} `gcseg check CONFIG` finds all of "
            "them; mend the files, or raise skip_bad"
        )
