"""Notes where a process of several is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.hooks import Hook

from gcseg.engine.standstill import Standstill
from gcseg.engine.watch import current_standstill
from gcseg.registry import HOOKS


@HOOKS.register_module()
class StandstillHook(Hook):
    """Note at every iteration where this process is; every run of several processes has this hook.

    See :mod:`gcseg.engine.standstill` for what becomes of it.
    """

    priority = "VERY_HIGH"  # what the hooks after it do, too, may take long

    def __init__(self) -> None:
        self._standstill: Standstill | None = None

    def before_run(self, runner: Any) -> None:
        """Find the note, and say where stacks are written."""
        self._standstill = current_standstill()
        if self._standstill is not None:
            self._standstill.folder = Path(runner.log_dir)

    def _before_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, mode: str = "train") -> None:
        self._note("in", runner, batch_idx, mode)

    def _after_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None, mode: str = "train"
    ) -> None:
        self._note("after", runner, batch_idx, mode)

    def _note(self, where: str, runner: Any, batch_idx: int, mode: str) -> None:
        if self._standstill is not None:
            number = runner.iter if mode == "train" else batch_idx
            rest = "" if where == "in" else ", in a hook or waiting for data"
            self._standstill.note(f"{where} {mode} iteration {number + 1}{rest}")
