"""Leaves what a report shows of a test or a validation in the folder of the run."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook

from gcseg.engine.machine import environment, peak_memory
from gcseg.evaluation.metrics.report_metric import ReportMetric
from gcseg.utils.atomic import write_atomically
from gcseg.utils.errors import ConfigError
from gcseg.version import __version__

#: What the hook writes, in the work dir.
REPORT_DATA = "report.json"


class ReportHook(Hook):
    """Collects by :class:`~gcseg.evaluation.metrics.report_metric.ReportMetric`, and writes ``report.json``.

    It sees the data samples themselves: a metric of the evaluator gets dicts without ``seg_logits``. Every test and
    every validation writes the file anew. A file that cannot be written ends in a warning.

    Args:
        about: what to add to the file, such as the checkpoint.

    Raises:
        ConfigError: when the test begins: its metrics compare with no labels (``format_only``).
    """

    priority = "VERY_LOW"

    def __init__(self, about: Mapping[str, Any] | None = None) -> None:
        self.about = dict(about or {})
        self._metric = ReportMetric()
        self._clock = _Clock()

    def before_val_epoch(self, runner: Any) -> None:
        """Begin."""
        self._begin(runner.val_evaluator, runner.val_dataloader)

    def before_test_epoch(self, runner: Any) -> None:
        """Begin."""
        self._begin(runner.test_evaluator, runner.test_dataloader)

    def before_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Take the time."""
        self._clock.batch_is_there()

    def before_test_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Take the time."""
        self._clock.batch_is_there()

    def after_val_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Sequence[Any] | None = None
    ) -> None:
        """Collect."""
        self._collect(outputs or ())

    def after_test_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Sequence[Any] | None = None
    ) -> None:
        """Collect."""
        self._collect(outputs or ())

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Write."""
        self._end(runner, "validation", runner.val_dataloader, metrics)

    def after_test_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Write."""
        self._end(runner, "test", runner.test_dataloader, metrics)

    def _begin(self, evaluator: Any, dataloader: Any) -> None:
        if any(getattr(metric, "format_only", False) for metric in evaluator.metrics):
            raise ConfigError(
                "a report compares with labels, and the evaluator has format_only=True; leave out one of them"
            )
        ignored = (getattr(metric, "ignore_index", None) for metric in evaluator.metrics)
        self._metric = ReportMetric(ignore_index=next((i for i in ignored if i is not None), 255))
        self._metric.dataset_meta = getattr(dataloader.dataset, "metainfo", None)
        self._clock = _Clock()

    def _collect(self, outputs: Sequence[Any]) -> None:
        self._clock.batch_is_done(len(outputs))
        self._metric.process(None, outputs)
        self._clock.waiting_for_batch()

    def _end(self, runner: Any, phase: str, dataloader: Any, metrics: Mapping[str, float] | None) -> None:
        self._metric.evaluate(len(dataloader.dataset))
        if not is_main_process():
            return
        content = {
            "gcseg": __version__,
            "date": datetime.now().isoformat(timespec="minutes", sep=" "),
            "phase": phase,
            "iteration": runner.iter if phase == "validation" else None,
            **self.about,
            "metrics": {k: v for k, v in (metrics or {}).items() if isinstance(v, int | float) and math.isfinite(v)},
            "result": self._metric.found,
            "speed": {**self._clock.summary(), "processes": get_world_size(), **peak_memory()},
            "environment": environment(),
        }
        file = Path(runner.work_dir) / REPORT_DATA
        try:
            write_atomically(file, json.dumps(content, default=str).encode())
        except OSError as e:
            with suppress(OSError):
                file.unlink()  # better none than that of an earlier test
            runner.logger.warning(f"{file} cannot be written: {e.strerror or e}; the report will lack this {phase}")


class _Clock:
    """Seconds per image of the network with its metrics, and of waiting for data; the report's own work is left out."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.waits: list[float] = []
        self.images = 0
        self._last = time.perf_counter()

    def batch_is_there(self) -> None:
        now = time.perf_counter()
        self.waits.append(now - self._last)
        self._last = now

    def batch_is_done(self, images: int) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append((time.perf_counter() - self._last) / max(1, images))
        self.images += images

    def waiting_for_batch(self) -> None:
        self._last = time.perf_counter()

    def summary(self) -> dict[str, float | None]:
        """Medians over batches without the first, which pays for what is made once."""
        seconds, waits = (times[1:] or times for times in (self.seconds, self.waits))
        per_batch = self.images / max(1, len(self.seconds))
        return {
            "seconds_per_image": statistics.median(seconds) if seconds else None,
            "waiting_per_image": statistics.median(waits) / max(1, per_batch) if waits else None,
            "batch_size": per_batch,
        }
