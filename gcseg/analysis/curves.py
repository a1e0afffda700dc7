"""The curves of trainings: smoothed, summed up in a table, and drawn."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from gcseg.analysis.plots import new_figure, save_figure
from gcseg.analysis.training_log import TrainingLog
from gcseg.utils.errors import ConfigError


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
