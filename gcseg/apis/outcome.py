"""What trainings and tests end with, for people and for programs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmengine.runner import Runner


class Scores(dict[str, Any]):
    """Name -> value of all metrics of a test.

    Attributes:
        file: ``metrics.json`` or ``metrics_tta.json``, where the record is written.
        record: config, checkpoint, number of images, metrics, and the values of each class; empty on all processes but
            the first.
    """

    def __init__(self, metrics: Mapping[str, Any], file: Path, record: Mapping[str, Any]) -> None:
        super().__init__(metrics)
        self.file, self.record = file, dict(record)

    def as_dict(self) -> dict[str, Any]:
        """The record, and its file."""
        return {**self.record, "file": self.file}

    def summary(self) -> str:
        """One line."""
        return f"{_in_words(self) or 'no scores'} of {self.record.get('num_images')} images: {self.file}"


@dataclass(frozen=True)
class TrainingOutcome:
    """What a training has come to.

    Attributes:
        work_dir: its folder.
        iterations: those behind it, before a resumption included.
        max_iters: how many there were to be.
        checkpoint: the last one; None when none was written.
        best: checkpoints of the best scores, with ``save_best``.
        scores: name -> value of the last validation; empty when there was none.
    """

    work_dir: str
    iterations: int
    max_iters: int
    checkpoint: str | None
    best: list[str]
    scores: dict[str, float]

    @property
    def ended_early(self) -> bool:
        """Whether a hook, such as EarlyStoppingHook, ended it before the last iteration."""
        return self.iterations < self.max_iters

    def as_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        return {**asdict(self), "ended_early": self.ended_early}

    def __str__(self) -> str:
        early = f" of {self.max_iters}, ended early" if self.ended_early else ""
        scores = f", {_in_words(self.scores)}" if self.scores else ""
        files = ", ".join(dict.fromkeys([*([self.checkpoint] if self.checkpoint else []), *self.best]))
        return f"{self.iterations} iterations{early}{scores}: {files or f'no checkpoint in {self.work_dir}'}"


def training_outcome(runner: Runner) -> TrainingOutcome:
    """Read it off a runner that has trained."""
    noted = runner.message_hub.runtime_info
    best = [str(file) for key, file in noted.items() if key.startswith("best_ckpt") and file]
    checkpoint = noted.get("last_ckpt")
    return TrainingOutcome(
        os.fspath(runner.work_dir), runner.iter, runner.max_iters, checkpoint, best, last_scores(runner)
    )


def last_scores(runner: Runner) -> dict[str, float]:
    """Name -> value of the last validation, without its times; empty when there was none."""
    histories = runner.message_hub.log_scalars
    return {
        name.removeprefix("val/"): float(history.current())
        for name, history in histories.items()
        if name.startswith("val/") and name not in ("val/time", "val/data_time")
    }


def _in_words(scores: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {value:.2f}" if isinstance(value, int | float) else f"{name} {value}" for name, value in scores.items()
    )
