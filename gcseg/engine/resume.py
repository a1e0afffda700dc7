"""Choosing the checkpoint to resume from."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from mmengine.logging import print_log

_MARKER = "last_checkpoint"
_PERIODIC = re.compile(r"(?:iter|epoch)_(\d+)\.pth$")


def verify_checkpoint(file: Path) -> str | None:
    """Check the CRC of every record of torch's zip container, which ``torch.load`` does not do.

    Returns:
        None when the file is whole, else what is wrong with it.
    """
    if not zipfile.is_zipfile(file):
        return "not a complete zip container"
    try:
        with zipfile.ZipFile(file) as container:
            damaged = container.testzip()
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, NotImplementedError) as e:
        return f"damaged container ({e})"
    return f"record {damaged} is damaged" if damaged else None


def checkpoints_in(work_dir: Path) -> list[Path]:
    """Periodic checkpoints of a run, newest (highest iteration or epoch) first."""
    numbered = [(int(m[1]), f) for f in work_dir.glob("*.pth") if (m := _PERIODIC.search(f.name))]
    return [f for _, f in sorted(numbered, key=lambda pair: (pair[0], pair[1].name), reverse=True)]


def prepare_resume(work_dir: str | Path) -> Path | None:
    """Find the newest whole checkpoint of a run and make mmengine's ``last_checkpoint`` point to it.

    The run may have been killed while it wrote, or moved to another folder since. What is passed over is logged.

    Returns:
        The checkpoint, or None when there is none to resume from.
    """
    work_dir = Path(work_dir).expanduser().absolute()
    marker = work_dir / _MARKER
    candidates = checkpoints_in(work_dir)
    if marker.is_file():
        # A file elsewhere (CheckpointHook.out_dir) or with a name of its own is known from the marker alone.
        marked = Path(marker.read_text().strip())
        marked = marked if marked.is_file() else work_dir / marked.name
        if marked.is_file() and marked.resolve() not in {c.resolve() for c in candidates}:
            candidates.append(marked)
    for candidate in candidates:
        problem = verify_checkpoint(candidate)
        if problem is None:
            if not marker.is_file() or marker.read_text().strip() != str(candidate):
                marker.write_text(str(candidate))
            return candidate
        print_log(f"resume: passed over {candidate}: {problem}", logger="current", level=30)
    return None
