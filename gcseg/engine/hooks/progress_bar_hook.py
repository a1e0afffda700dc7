"""A bar with the remaining time, beside the log lines."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from gcseg.registry import HOOKS
from gcseg.utils.progress import progress


@HOOKS.register_module()
class ProgressBarHook(Hook):
    """A tqdm bar for training, validation and test, on the first process.

    Log lines are printed above the bar. Where stderr is not a terminal there is no bar: the lines of LoggerHook carry
    the same numbers and the remaining time.

    Args:
        train: show the training.
        val: show validations.
        test: show the test.
        interactive: whether stderr is a terminal; asked by default. True where it is none gives a line in ten seconds.
    """

    priority = "VERY_LOW"

    def __init__(
        self, train: bool = True, val: bool = True, test: bool = True, interactive: bool | None = None
    ) -> None:
        self.shown = {"train": train, "val": val, "test": test}
        self.interactive = sys.stderr.isatty() if interactive is None else interactive
        self._bars: dict[str, Any] = {}
        self._redirection = ExitStack()

    def before_run(self, runner) -> None:
        """Let log lines pass above the bar."""
        if self.interactive and is_main_process():
            from tqdm.contrib.logging import logging_redirect_tqdm

            levels = [handler.level for handler in runner.logger.handlers if type(handler) is logging.StreamHandler]
            self._redirection.enter_context(logging_redirect_tqdm([runner.logger]))
            runner.logger.handlers[-1].setLevel(max(levels, default=logging.NOTSET))  # tqdm's handler lets all pass

    def after_run(self, runner) -> None:
        """Close what is open."""
        self.close()

    def close(self) -> None:
        """Close the bars and give the log its own way to the screen back."""
        for bar in self._bars.values():
            bar.close()
        self._bars.clear()
        self._redirection.close()

    def before_train(self, runner) -> None:
        """Open the training bar where the run begins or resumes."""
        self._open("train", runner.max_iters, initial=runner.iter)

    def after_train_iter(self, runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None) -> None:
        """One step on."""
        self._step("train")

    def after_train(self, runner) -> None:
        """Close the training bar."""
        self._close("train")

    def before_val(self, runner) -> None:
        """Open the validation bar."""
        self._open("val", len(runner.val_dataloader))

    def after_val_iter(self, runner, batch_idx: int, data_batch: Any = None, outputs: Sequence | None = None) -> None:
        """One batch on."""
        self._step("val")

    def after_val(self, runner) -> None:
        """Close the validation bar."""
        self._close("val")

    def before_test(self, runner) -> None:
        """Open the test bar."""
        self._open("test", len(runner.test_dataloader))

    def after_test_iter(self, runner, batch_idx: int, data_batch: Any = None, outputs: Sequence | None = None) -> None:
        """One batch on."""
        self._step("test")

    def after_test(self, runner) -> None:
        """Close the test bar."""
        self._close("test")

    def _open(self, stage: str, total: int, initial: int = 0) -> None:
        if self.interactive and self.shown[stage] and is_main_process():
            unit, leave = ("iter", True) if stage == "train" else ("batch", False)
            self._bars[stage] = progress(total=total, desc=stage, unit=unit, initial=initial, leave=leave)

    def _step(self, stage: str) -> None:
        if stage in self._bars:
            self._bars[stage].update()

    def _close(self, stage: str) -> None:
        if stage in self._bars:
            bar = self._bars.pop(stage)
            bar.refresh()
            bar.close()
