"""Logs that cannot be written do not end a training."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.hooks import LoggerHook as _LoggerHook

from gcseg.registry import HOOKS

_NO_NAME = re.compile(r"(?!)")


@HOOKS.register_module()
class LoggerHook(_LoggerHook):
    """mmengine's hook of this name; numbers that the disk does not take are missing from the curves, and no more.

    Its arguments are mmengine's. A TensorBoard writer that has failed once stays silent until the next start; what
    stands before it in the visualizer's ``vis_backends`` goes on.
    """

    _failed: str | None = None

    def after_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        """Log, if it is time."""
        with self._forgiven(runner):
            super().after_train_iter(runner, *args, **kwargs)

    def after_val_epoch(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        """Log the metrics as they are: where a name has ``loss`` in it, mmengine logs the mean of ten validations."""
        processor = runner.log_processor
        smoothed, processor.mean_pattern = processor.mean_pattern, _NO_NAME
        try:
            with self._forgiven(runner):
                super().after_val_epoch(runner, *args, **kwargs)
        finally:
            processor.mean_pattern = smoothed

    def after_run(self, runner: Any) -> None:
        """Close the writers."""
        with self._forgiven(runner):
            super().after_run(runner)

    @contextmanager
    def _forgiven(self, runner: Any) -> Iterator[None]:
        try:
            yield
        except OSError as e:
            reason = e.strerror or str(e)
            if reason != self._failed:  # once, not at every interval
                self._failed = reason
                runner.logger.warning(
                    f"the numbers of iteration {runner.iter} and some of the next are missing from the curves in "
                    f"{runner.log_dir}: {reason}. Free some space there; the training goes on"
                )
