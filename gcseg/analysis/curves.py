"""The numbers that mmengine logs while training: read, summed up, and drawn."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcseg.analysis.plots import new_figure, save_figure
from gcseg.utils.errors import ConfigError, DataError
from gcseg.utils.names import unknown_name_message

_COUNTERS = ("step", "iter", "epoch")
_OF_EVERY_LINE = ("time", "data_time", "memory")


@dataclass(frozen=True)
class TrainingLog:
    """The curves of one run.

    Attributes:
        name: of the run.
        curves: key -> [(step, value), ...], steps ascending. ``time`` and ``data_time`` of a validation are called
            ``val/time`` and ``val/data_time``.
        noisy: the keys that differ from batch to batch: those of training iterations, but for learning rates.
    """

    name: str
    curves: dict[str, list[tuple[int, float]]]
    noisy: frozenset[str] = frozenset()

    def curve(self, key: str) -> list[tuple[int, float]]:
        """The values of a key.

        Raises:
            ConfigError: the log does not have it.
        """
        if key not in self.curves:
            raise ConfigError(unknown_name_message(f"key of the log of {self.name}", key, self.curves))
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

    A resumed run has a log for each start. Where a start begins again at a step, what earlier ones logged from that
    step on is left out: it belongs to weights that are gone.

    Args:
        path: a ``scalars.json`` (or ``<time>.json``) of mmengine, or a folder with such files below, such as
            ``work_dir``.
        name: what to call it; the name of the folder or file by default.

    Raises:
        DataError: there is no log, or a line in it is no JSON. The last line may break off, as that of a killed run.
    """
    path = Path(path).expanduser()
    files = [path] if path.is_file() else sorted(path.rglob("scalars.json"))
    if not files:
        raise DataError(f"{path}: no scalars.json there; give the work_dir of a run, or the file")
    kept: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    for file in files:
        rows = _read_rows(file)
        for is_train, old in kept.items():
            new = [row for row in rows if _is_train(row) == is_train]
            first = min((row["step"] for row in new), default=math.inf)
            kept[is_train] = [row for row in old if row["step"] < first] + new
    curves: dict[str, dict[int, float]] = {}
    for is_train, rows in kept.items():
        for row in rows:
            for key, value in row.items():
                if key in _COUNTERS or not isinstance(value, int | float):
                    continue
                shown = key if is_train or key not in _OF_EVERY_LINE else f"val/{key}"
                curves.setdefault(shown, {})[row["step"]] = float(value)
    label = name or (path.name if path.is_dir() else path.parent.parent.parent.name or path.name)
    noisy = {key for row in kept[True] for key in row if "lr" not in key.split("_")}
    return TrainingLog(label, {key: sorted(points.items()) for key, points in curves.items()}, frozenset(noisy))


def _is_train(row: dict[str, Any]) -> bool:
    return "lr" in row or "loss" in row


def _read_rows(file: Path) -> list[dict[str, Any]]:
    rows = []
    lines = [line for line in file.read_text(errors="replace").splitlines() if line.strip()]
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError as e:
            if number == len(lines):
                break
            raise DataError(f"{file}: line {number} is no JSON ({e}); is it a log of mmengine?") from e
        if not isinstance(row, dict):
            raise DataError(f"{file}: line {number} is no JSON object; is it a log of mmengine?")
        if isinstance(row.get("step"), int):
            rows.append(row)
    return rows


def smoothed(values: Sequence[float], weight: float) -> list[float]:
    """Exponential mean of what came so far, without the bias of its beginning: after n equal values it is that value.

    Args:
        values: in order; what is not finite stays as it is, and out of the mean.
        weight: of the past, from 0 (no smoothing) to below 1.
    """
    if not 0 <= weight < 1:
        raise ConfigError(f"smooth={weight}: from 0 (none) to below 1")
    mean, total, found = 0.0, 0.0, []
    for value in values:
        if not math.isfinite(value):
            found.append(value)
            continue
        mean, total = weight * mean + (1 - weight) * value, weight * total + (1 - weight)
        found.append(mean / total)
    return found


def format_summary(logs: Sequence[TrainingLog], keys: Sequence[str] | None = None) -> str:
    """A table with one row per run and key."""
    rows = [("run", "key", "count", "last", "lowest", "at", "highest", "at")]
    for log in logs:
        for key, s in log.summary(keys).items():
            low, high = (f"{s[k]:.5g}" for k in ("low", "high"))
            places = (str(int(s[k])) for k in ("low_step", "high_step"))
            rows.append(
                (log.name, key, str(int(s["count"])), f"{s['last']:.5g}", low, next(places), high, next(places))
            )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    )


def plot_logs(
    logs: Sequence[TrainingLog],
    keys: Sequence[str],
    out: str | os.PathLike,
    smooth: float = 0.0,
    title: str | None = None,
) -> Path:
    """Draw one panel per key, and in it one curve per run that has the key.

    Args:
        logs: of the runs.
        keys: what to draw.
        out: the picture; its suffix says the format.
        smooth: see :func:`smoothed`, for keys that are noisy; the values themselves stay in the background.
        title: above everything.

    Raises:
        ConfigError: no run has the key, an option is wrong, or matplotlib is not installed.
    """
    smoothed([], smooth)
    for key in keys:
        if not any(key in log.curves for log in logs):
            logs[0].curve(key)
    columns = min(2, len(keys))
    rows = -(-len(keys) // columns)
    figure = new_figure(5.5 * columns, 3.2 * rows)
    if title:
        figure.suptitle(title)
    for i, key in enumerate(keys):
        axes = figure.add_subplot(rows, columns, i + 1, title=key, xlabel="step")
        axes.grid(alpha=0.3)
        for number, log in enumerate(logs):
            if key not in log.curves:
                continue
            steps, values = zip(*log.curves[key], strict=True)
            colour, marker = f"C{number % 10}", None if key in log.noisy or len(steps) > 40 else "o"
            if smooth and key in log.noisy:
                axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
                values = tuple(smoothed(values, smooth))
            axes.plot(steps, values, color=colour, marker=marker, markersize=3, label=log.name)
        if len(logs) > 1:
            axes.legend()
    return save_figure(figure, out)
