"""Words about files and folders that are not as expected."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Iterable, Mapping

from mmengine import fileio

from gcseg.utils.errors import DataError
from gcseg.utils.signatures import shortened


def is_local(path: str, backend_args: Mapping | None = None) -> bool:
    """Whether ``path`` is on a disk of this machine, so that ``os`` functions tell the truth about it."""
    if backend_args and backend_args.get("backend", "local") not in ("local", "LocalBackend", "disk"):
        return False
    return "://" not in str(path) and not str(path).startswith("s3:")


def shorten(names: Iterable[object], shown: int = 8) -> str:
    """The first ``shown`` names in quotes, and how many more there are."""
    names = list(names)
    text = ", ".join(repr(name) for name in names[:shown])
    return f"{text} and {len(names) - shown} more" if len(names) > shown else text


def list_files(folder: str, endings: tuple[str, ...], backend_args: dict | None = None) -> list[str]:
    """Paths, relative to ``folder``, of all files below it that have one of the endings.

    Raises:
        DataError: the folder, one below it or a file cannot be looked at; names it.
    """
    try:
        return list(
            fileio.list_dir_or_file(folder, list_dir=False, suffix=endings, recursive=True, backend_args=backend_args)
        )
    except OSError as error:
        where = str(error.filename or folder)
        if error.errno == errno.ELOOP:
            raise DataError(
                f"{folder!r} holds a symbolic link that leads back to itself or to a folder it lies in: "
                f"{shortened(where, 300)}. Remove the link"
            ) from error
        raise DataError(f"{folder!r}: {shortened(where, 300)} cannot be listed ({error.strerror or error})") from error


def contents(folder: str) -> str:
    """What a folder holds, in one clause: folders by name, files by number and ending."""
    try:
        with os.scandir(folder) as entries:
            found = sorted((entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if not found:
        return "is empty"
    folders = [name + "/" for name, is_folder in found if is_folder]
    files = [name for name, is_folder in found if not is_folder]
    parts = [shorten(folders)] if folders else []
    if files:
        endings = Counter(os.path.splitext(name)[1] or "no ending" for name in files)
        kinds = ", ".join(f"{number} {ending}" for ending, number in endings.most_common(3))
        parts.append(f"{len(files)} file{'s' if len(files) > 1 else ''} ({kinds}; first {files[0]!r})")
    return "holds " + " and ".join(parts)


def where_it_stops(path: str) -> str:
    """The nearest existing parent of a path that does not exist, and what is in it."""
    parent = os.path.dirname(os.path.abspath(path))
    while not os.path.isdir(parent) and os.path.dirname(parent) != parent:
        parent = os.path.dirname(parent)
    return f"the nearest existing parent, {parent!r}, {contents(parent)}"
