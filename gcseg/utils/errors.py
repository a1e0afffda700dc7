"""Errors that a user can act on.

Each carries one paragraph: what was received, what is allowed, and what to do. The command-line tools print that
paragraph without a traceback and exit with code 2.
"""


class GcsegError(Exception):
    """Base of the errors below. Their text can be printed: no control character of a file reaches a terminal."""

    def __str__(self) -> str:
        return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in super().__str__())


class ConfigError(GcsegError, ValueError):
    """A config that cannot work; names the key."""


class DataError(GcsegError, ValueError):
    """A data set or a file in it that cannot be used; names the file."""


class CheckpointError(GcsegError, RuntimeError):
    """A checkpoint that cannot be used; names the file."""


class WeightsNotFoundError(GcsegError, FileNotFoundError):
    """Weights that are neither on disk nor downloadable; names the place where to put them."""


class TrainingError(GcsegError, RuntimeError):
    """A training that cannot go on; names the iteration."""


class ExportError(GcsegError, RuntimeError):
    """A model that cannot be exported, or an exported file that cannot be used; names what is in the way."""


class HardwareError(GcsegError, RuntimeError):
    """The hardware lacks what an option needs."""
