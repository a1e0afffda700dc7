"""The curves of a training, from the logs in its folder."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from gcseg.visualization.report.data import Curve, Training

_NO_SCORES = ("step", "iter", "epoch", "time", "data_time", "memory", "lr", "base_lr")
Line = dict[str, Any]


def read_training(work_dir: str | os.PathLike) -> Training | None:
    """What the logs of all starts of a training say, those of a resumed one joined.

    Each start writes ``TIME/vis_data/scalars.json``, one JSON object a line. Of iterations that were done twice the
    later ones count; a start from the beginning again replaces all that came before. Lines that are damaged, as the
    last one of a run that was killed, are left out.

    Args:
        work_dir: of the run.

    Returns:
        None where there is no log.
    """
    lines: list[Line] = []
    resumed: list[int] = []
    for file in sorted(Path(work_dir).glob("*/vis_data/scalars.json"), key=lambda f: f.parts[-3]):
        new = list(_lines(file))
        first = next((line for line in new if _is_training(line)), None)
        if first is None:
            lines += new
            continue
        lines = [line for line in lines if _is_before(line, first)]
        resumed = [step for step in resumed if step < first["step"]] + [first["step"]] * bool(lines)
        lines += new
    if not lines:
        return None
    losses = _curves(lines, lambda key: "loss" in key)
    return Training(
        losses=tuple(sorted(losses, key=lambda c: c.name != "loss")),
        rates=_curves(lines, lambda key: key == "lr"),
        scores=_curves((x for x in lines if not _is_training(x)), lambda k: k not in _NO_SCORES and "loss" not in k),
        resumed=tuple(resumed),
        not_finite=tuple(sorted({s for c in losses for s, v in zip(c.steps, c.values, strict=True) if v is None})),
    )


def _lines(file: Path) -> Iterable[Line]:
    for text in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            yield line


def _is_training(line: Line) -> bool:
    return "lr" in line


def _is_before(line: Line, first: Line) -> bool:
    """Whether a line of an earlier start is of the time before ``first``, the first line of training of a later one."""
    if not _is_training(line) and "epoch" in first:  # validations of a training by epochs are counted in epochs
        return line["step"] < first["epoch"]
    return line["step"] < first["step"]


def _curves(lines: Iterable[Line], wanted: Callable[[str], bool]) -> tuple[Curve, ...]:
    found: dict[str, dict[int, float | None]] = {}
    for line in lines:
        for key, value in line.items():
            if wanted(key) and isinstance(value, int | float):
                found.setdefault(key, {})[line["step"]] = float(value) if math.isfinite(value) else None
    return tuple(Curve(name, *zip(*sorted(points.items()), strict=True)) for name, points in found.items())
