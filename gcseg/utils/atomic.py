"""Files that are whole or absent, whatever happens while they are written.

A file is written beside its place, brought to the disk, and renamed; whoever looks sees the old content or the new. The
name of an unfinished file is ``.gcseg-*.part``, and its writer holds a lock on it for as long as it lives, so that what
a killed run left behind can be told from what another one is about to write.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_PREFIX, _SUFFIX = ".gcseg-", ".part"
# What fsync of a folder gives on file systems that have no such thing.
_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EISDIR)


@contextmanager
def new_file(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """An empty file to write into, which takes the place of ``path`` when the block ends, and not if it raises.

    Folders above it are made. A link is followed.

    Args:
        path: the file.

    Raises:
        OSError: the system's reason; the file is as before, and nothing is left beside it.
    """
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _new_part(target.parent)
    try:
        # Not mkstemp, whose files nobody else may read.
        with open(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), "w+b") as f:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield f
            f.flush()
            os.fsync(f.fileno())
            os.replace(part, target)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def write_atomically(path: str | os.PathLike, data: bytes | memoryview) -> None:
    """Give a file its content, or leave everything as it was; afterwards its name is on the disk, too.

    Folders above it are made. A link is followed. What is no regular file (a device, a pipe) is written as usual.

    Args:
        path: the file.
        data: its content.

    Raises:
        OSError: the system's reason; the file is as before, and nothing is left beside it.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        with open(target, "wb") as f:
            f.write(data)
        return
    with new_file(target) as f:
        f.write(data)
    _sync_folder(target.parent)


def check_folder(folder: str | os.PathLike) -> None:
    """Make a folder and a small file in it, and take the file away again.

    Raises:
        OSError: the system's reason why that does not work.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    part = _new_part(folder)
    try:
        with open(part, "xb") as f:
            f.write(b"gcseg")
    finally:
        with suppress(OSError):
            part.unlink()


def remove_leftovers(folder: str | os.PathLike) -> list[Path]:
    """Take away the unfinished files whose writers are no more.

    Returns:
        What was removed.
    """
    removed = []
    for part in sorted(Path(folder).glob(f"{_PREFIX}*{_SUFFIX}")):
        with suppress(OSError), open(part, "r+b") as f:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused while its writer lives
            part.unlink()
            removed.append(part)
    return removed


def _new_part(folder: Path) -> Path:
    return folder / f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as e:
        if e.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)
