"""Choosing the checkpoint to resume from."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from mmengine.logging import print_log

from gcseg.engine.container import verify_checkpoint
from gcseg.utils.atomic import write_atomically

__all__ = ["checkpoints_in", "prepare_resume", "verify_checkpoint"]

_MARKER = "last_checkpoint"
# Not best_*: those have the weights alone, and a run that began with them would have lost its optimizer.
_PERIODIC = re.compile(r"(?!best_).*(?:iter|epoch)_(\d+)\.pth")
_NUMBER = re.compile(r"(\d+)(?=\D*$)")


def checkpoints_in(work_dir: Path) -> list[Path]:
    """Periodic checkpoints of a run, newest (highest iteration or epoch) first."""
    numbered = [(int(m[1]), f) for f in work_dir.glob("*.pth") if (m := _PERIODIC.fullmatch(f.name))]
    return [f for _, f in sorted(numbered, key=lambda pair: (pair[0], pair[1].name), reverse=True)]


def prepare_resume(work_dir: str | Path) -> Path | None:
    """Find the newest whole checkpoint of a run and make mmengine's ``last_checkpoint`` point to it.

    The run may have been killed while it wrote, or moved to another folder since. What is passed over is logged.

    Returns:
        The checkpoint, or None when there is none to resume from.
    """
    work_dir = Path(work_dir).expanduser().absolute()
    marker = work_dir / _MARKER
    content = _read(marker)
    candidates = checkpoints_in(work_dir)
    known = {c.resolve() for c in candidates}
    candidates += [c for c in _marked(content, work_dir) if c.resolve() not in known]
    for candidate in candidates:
        problem = verify_checkpoint(candidate)
        if problem is None:
            if content != str(candidate):
                write_atomically(marker, str(candidate).encode())
            return candidate
        print_log(f"resume: passed over {candidate}: {problem}", logger="current", level=logging.WARNING)
    return None


def _read(marker: Path) -> str:
    try:
        return marker.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _marked(content: str, work_dir: Path) -> list[Path]:
    """The checkpoint that a marker names, and the older ones of its kind beside it, newest first.

    A file elsewhere (``CheckpointHook.out_dir``) or with a name of its own is known from the marker alone.
    """
    if not content or "\0" in content:
        return []
    marked = Path(content)
    marked = marked if marked.is_file() else work_dir / marked.name
    if not marked.name:
        return []
    number = _NUMBER.search(marked.name.removesuffix(marked.suffix))
    older: list[tuple[int, Path]] = []
    if number is not None:
        head, tail = marked.name[: number.start()], marked.name[number.end() :]
        same = re.compile(f"{re.escape(head)}(\\d+){re.escape(tail)}")
        beside = marked.parent.iterdir() if marked.parent.is_dir() else ()
        found = [(int(m[1]), f) for f in beside if (m := same.fullmatch(f.name))]
        older = [(n, f) for n, f in found if n < int(number[1])]
    return [f for f in (marked, *(f for _, f in sorted(older, reverse=True))) if f.is_file()]
