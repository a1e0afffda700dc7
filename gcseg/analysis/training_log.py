"""The log of a training, as mmengine writes it, with the logs of all starts of the run joined."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gcseg.utils.errors import ConfigError, DataError
from gcseg.utils.names import unknown_name_message
from gcseg.visualization.report.data import Curve, Training

_COUNTERS = ("step", "iter", "epoch")
Line = dict[str, Any]


@dataclass(frozen=True)
class TrainingLog:
    """The curves of one run.

    Attributes:
        name: of the run.
        curves: key -> [(step, value), ...], steps ascending. Steps are iterations; those of validations are epochs in a
            training by epochs. What a training logs as well is called ``val/KEY`` in a validation, such as
            ``val/time``.
        validated: the keys of validations.
        iterations: step of a validation -> iterations done before it, in a training by epochs those that were logged.
        resumed: the first logged iteration of each start that took the run up again.
    """

    name: str
    curves: dict[str, list[tuple[int, float]]]
    validated: frozenset[str] = frozenset()
    iterations: Mapping[int, int] = field(default_factory=dict)
    resumed: tuple[int, ...] = ()

    @property
    def noisy(self) -> frozenset[str]:
        """The keys that differ from batch to batch: those of training iterations, but for learning rates."""
        return frozenset(key for key in self.curves if key not in self.validated and not key.endswith("lr"))

    def curve(self, key: str) -> list[tuple[int, float]]:
        """The values of a key.

        Raises:
            ConfigError: the log does not have it.
        """
        if key not in self.curves:
            raise ConfigError(unknown_name_message(f"key in the log of run {self.name!r}:", key, self.curves))
        return self.curves[key]

    def summary(self, keys: Sequence[str] | None = None) -> dict[str, dict[str, float]]:
        """Count, last value, lowest and highest value with their steps, of each key; all keys by default."""
        found = {}
        for key in keys or self.curves:
            points = self.curve(key)
            finite = [point for point in points if math.isfinite(point[1])] or points
            low, high = (choose(finite, key=lambda point: point[1]) for choose in (min, max))
            found[key] = {
                "count": len(points),
                "last": points[-1][1],
                "low": low[1],
                "low_step": low[0],
                "high": high[1],
                "high_step": high[0],
            }
        return found


def read_log(path: str | os.PathLike, name: str | None = None) -> TrainingLog:
    """Read a run.

    Each start of a run writes ``TIME/vis_data/scalars.json``, one JSON object a line. Of what was done twice the later
    counts: where a start begins again at an iteration, all that earlier ones logged from there on belongs to weights
    that are gone, and is left out. So a start from the beginning replaces everything, and a start that ended before its
    first line of training replaces nothing. Damaged lines are left out, with a warning unless it is the last line of a
    file, which a run that is killed breaks off.

    Args:
        path: a ``work_dir``, the folder of one start in it, or a ``scalars.json`` (or ``<time>.json``) of mmengine.
        name: what to call it; the name of the folder, or of the ``work_dir`` of a file, by default.

    Raises:
        DataError: there is no log, or nothing in it.
    """
    path = Path(path).expanduser().resolve()
    files = [path] if path.is_file() else _find_logs(path)
    placed, resumed = _join([_read_lines(file) for file in files])
    if not placed:
        raise DataError(f"{path}: nothing is logged in it; is it a log of mmengine, and did the run log something?")
    ambiguous = {"time", "data_time"}.union(*(line for _, line in placed if "iter" in line))
    trained = "iter" in ambiguous
    curves: dict[str, dict[int, float]] = {}
    validated, iterations = set(), {}
    for place, line in placed:
        step = line["step"] or place
        if trained and not step:  # a validation of weights that this run did not make
            continue
        if "iter" not in line:
            iterations[step] = place
            line = {f"val/{key}" if key in ambiguous else key: value for key, value in line.items()}
            validated |= set(line)
        for key, value in line.items():
            if key.removeprefix("val/") not in _COUNTERS and isinstance(value, int | float):
                curves.setdefault(key, {})[step] = float(value)
    sorted_curves = {key: sorted(points.items()) for key, points in curves.items()}
    name = name or (path if path.is_dir() else path.parent.parent.parent).name or path.name
    return TrainingLog(name, sorted_curves, frozenset(validated & set(curves)), iterations, tuple(resumed))


def read_training(work_dir: str | os.PathLike) -> Training | None:
    """What a report shows of the log of a run: :func:`read_log`, with all curves over iterations.

    Args:
        work_dir: of the run.

    Returns:
        None where there is no log.
    """
    try:
        log = read_log(work_dir)
    except DataError:
        return None

    def curve(key: str) -> Curve:
        when = log.iterations if key in log.validated else {}
        points = [(when.get(step, step), value if math.isfinite(value) else None) for step, value in log.curves[key]]
        return Curve(key, *zip(*points, strict=True))

    losses = [curve(key) for key in sorted(log.curves, key=lambda key: key != "loss") if "loss" in key]
    scores = [
        curve(key) for key in log.curves if key in log.validated and "loss" not in key and not key.endswith("time")
    ]
    gaps = {step for c in losses for step, value in zip(c.steps, c.values, strict=True) if value is None}
    rates = [curve(key) for key in log.curves if key == "lr"]
    return Training(tuple(losses), tuple(rates), tuple(scores), log.resumed, tuple(sorted(gaps)))


def _find_logs(folder: Path) -> list[Path]:
    """The logs of all starts, oldest first."""
    for pattern in ("*/vis_data/scalars.json", "vis_data/scalars.json", "scalars.json"):
        if files := sorted(folder.glob(pattern)):
            return files
    runs = sorted({file.parents[2].name for file in folder.glob("*/*/vis_data/scalars.json")})
    there = f", but there are runs in it: {', '.join(runs)}; give one of them" if runs else ""
    raise DataError(f"{folder}: no scalars.json there{there or '; give the work_dir of a run, or the file'}")


def _read_lines(file: Path) -> list[Line]:
    """The lines of one start; those of training, and no others, have the key ``iter``."""
    lines, damaged = [], []
    texts = file.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, text in enumerate(texts, 1):
        try:
            line = json.loads(text)
        except ValueError:
            damaged.append(number)
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            # LogProcessor(log_with_hierarchy=True) says in each key what it is of.
            lines.append({key.removeprefix("train/").removeprefix("val/"): value for key, value in line.items()})
    if damaged and damaged[0] < len(texts):
        warnings.warn(f"{file}: {len(damaged)} damaged lines are left out, the first is line {damaged[0]}")
    return lines


def _join(starts: Sequence[list[Line]]) -> tuple[list[tuple[int, Line]], list[int]]:
    """(iterations done, line) of the starts of a run, oldest first, and the iterations at which it was taken up again.

    Epochs never outnumber iterations. So the highest step up to a line is the iteration of a line of training and of a
    validation counted in iterations, and that of the line of training before it for a validation counted in epochs, or
    not at all (step 0: ``LoggerHook(log_metric_by_epoch=True)`` in a training by iterations).
    """
    placed: list[tuple[int, Line]] = []
    resumed: list[int] = []
    for lines in starts:
        first = next((line["step"] for line in lines if "iter" in line), None)
        if first is not None:
            placed = [(place, line) for place, line in placed if place < first]
            resumed = [step for step in resumed if step < first] + [first] * any(place for place, _ in placed)
        place = 0
        for line in lines:
            place = max(place, line["step"])
            placed.append((place, line))
    return placed, resumed
