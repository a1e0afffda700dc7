"""mmengine's files, written by :mod:`gcseg.utils.atomic`: whole or absent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from mmengine.fileio import FileClient, LocalBackend, register_backend

from gcseg.utils.atomic import write_atomically


class HeldWrite:
    """One file's content on its way.

    Attributes:
        path: of the file.
        data: its content, None until somebody has written it and after it has been taken.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.data: bytes | None = None


_HELD: ContextVar[HeldWrite | None] = ContextVar("held write", default=None)


@contextmanager
def held_write(path: str) -> Iterator[HeldWrite]:
    """Keep what mmengine writes to one file, for writing it later; its runner makes a checkpoint and writes it at once.

    Args:
        path: the file; others are written as usual, and so are all that another thread writes.
    """
    held = HeldWrite(path)
    token = _HELD.set(held)
    try:
        yield held
    finally:
        _HELD.reset(token)


class AtomicLocalBackend(LocalBackend):
    """mmengine's backend for local files, writing by :func:`write_atomically`."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes; see :func:`write_atomically`."""
        held = _HELD.get()
        if held is not None and held.path == str(filepath):
            held.data = obj
        else:
            write_atomically(filepath, obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = "utf-8") -> None:
        """Write text; see :func:`write_atomically`."""
        self.put(obj.encode(encoding), filepath)


def install_atomic_files() -> None:
    """Make mmengine write every local file of this process atomically.

    It acts on the whole process, so entry points call it and imports do not.
    """
    register_backend("local", AtomicLocalBackend, force=True, prefixes="")
    FileClient.register_backend("disk", AtomicLocalBackend, force=True)  # the old way, by `file_client_args`
