"""What is said of a file that cannot be written: before the work whose result it is to hold, and afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gcseg.utils.atomic import check_folder
from gcseg.utils.errors import ConfigError, GcsegError


@contextmanager
def writing(name: str | os.PathLike, error: type[GcsegError] = ConfigError) -> Iterator[None]:
    """Tell the system's error in this block, in which one file is written, as one that the user can mend.

    Args:
        name: of the file, as the user knows it.
        error: its class.

    Raises:
        GcsegError: of class ``error``; the cause is the system's.
    """
    try:
        yield
    except OSError as e:
        raise error(f"{name}: cannot be written: {e.strerror or e}; name another file") from e


def check_writable(
    file: str | os.PathLike, name: str | os.PathLike | None = None, error: type[GcsegError] = ConfigError
) -> None:
    """Refuse a file that cannot be written. Its folder exists afterwards.

    Args:
        file: a path; a device or a pipe passes.
        name, error: see :func:`writing`; the name is by default the path.

    Raises:
        GcsegError: of class ``error``.
    """
    path = Path(file)
    with writing(name or file, error):
        if path.is_dir():
            raise OSError("it is a folder")
        if path.is_file() or not path.exists():
            check_folder(path.parent)
