"""Whether a torch file is whole: the checksums of its zip container, which ``torch.load`` does not look at."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

_ZIP_START = b"PK\x03\x04"
_FOLDER = 0x10  # MS-DOS's attribute


def verify_checkpoint(file: str | os.PathLike) -> str | None:
    """Look for damage in a checkpoint that ``torch.save`` has written.

    Returns:
        None when the file is whole, else what is wrong with it. A file of another format counts as damaged.
    """
    problem, is_container = _inspect(Path(file))
    return problem if problem or is_container else "it is no zip container, as torch.save writes them"


def container_damage(file: str | os.PathLike) -> str | None:
    """As :func:`verify_checkpoint`, for files that may be of another format, which has no checksums to look at."""
    return _inspect(Path(file))[0]


def _inspect(file: Path) -> tuple[str | None, bool]:
    """What is wrong, and whether it is (or was) a zip container."""
    try:
        size = file.stat().st_size
        with open(file, "rb") as f:
            start = f.read(len(_ZIP_START))
        if not start.strip(b"\0"):
            what = "it is empty (0 bytes)" if size == 0 else f"it begins with zeros ({size} bytes)"
            return f"{what}: its content never reached the disk", False
        if start != _ZIP_START:
            return None, False
        if not zipfile.is_zipfile(file):
            return f"it is cut off after {size} bytes: the list of its records, which comes last, is missing", True
        with zipfile.ZipFile(file) as container:
            records = container.infolist()
            # torch takes a record marked so for a folder, and leaves the tensor's memory as it finds it.
            folders = [record.filename for record in records if record.external_attr & _FOLDER]
            if folders:
                return f"its record {folders[0]} is marked as a folder", True
            if not any(record.CRC for record in records):
                return None, True  # written after torch.serialization.set_crc32_options(False)
            damaged = container.testzip()
    except OSError as e:
        return f"it cannot be read ({e.strerror or e})", True
    except Exception as e:  # zipfile has no one error for damage
        return f"its container is damaged ({type(e).__name__}: {e})", True
    return (f"its record {damaged} is damaged: the checksum does not agree" if damaged else None), True
