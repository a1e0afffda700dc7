"""What a run tells its log, without stopping the device for every number."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.hooks import CheckpointHook, LoggerHook
from mmengine.hooks import RuntimeInfoHook as _RuntimeInfoHook
from mmengine.logging import HistoryBuffer
from torch import Tensor

from gcseg.registry import HOOKS


@HOOKS.register_module()
class RuntimeInfoHook(_RuntimeInfoHook):
    """mmengine's hook of this name, but the losses stay on the device until somebody is about to read them.

    mmengine's reads every loss in every iteration, and a GPU stops each time. This one reads those of many iterations
    at once: when a logger or checkpoint hook is due, before a validation, and at the end. The history that the log is
    smoothed over is the same; it is kept for the last iterations only, because appending to it copies it (0.5 ms per
    number and iteration towards the end of a 160k schedule).

    Args:
        max_history: iterations that are kept, at least.
    """

    def __init__(self, max_history: int = 10_000) -> None:
        if max_history < 1:
            raise ValueError(f"RuntimeInfoHook: max_history={max_history}; at least 1 iteration must be kept")
        self.max_history = max_history
        self._waiting: list[dict[str, Any]] = []

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Keep the losses of one iteration, and read them if it is time."""
        if outputs:
            self._waiting.append(
                {key: value.detach() if isinstance(value, Tensor) else value for key, value in outputs.items()}
            )
        if self._somebody_reads(runner, batch_idx):
            self.flush(runner)

    def before_val(self, runner: Any) -> None:
        """Read what is waiting: validation hooks may look at it."""
        self.flush(runner)
        super().before_val(runner)

    def after_train(self, runner: Any) -> None:
        """Read what is waiting."""
        self.flush(runner)
        super().after_train(runner)

    def _somebody_reads(self, runner: Any, batch_idx: int) -> bool:
        last = self.is_last_train_iter(runner) or self.end_of_epoch(runner.train_dataloader, batch_idx)
        if last or len(self._waiting) >= 1000:
            return True
        intervals = [h.interval for h in runner.hooks if isinstance(h, LoggerHook | CheckpointHook)]
        # mmengine counts either from the start of the run or from the start of the epoch.
        return any(i > 0 and (self.every_n_train_iters(runner, i) or (batch_idx + 1) % i == 0) for i in intervals)

    def flush(self, runner: Any) -> None:
        """Read what is waiting into the message hub."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        tensors = [value.reshape(()) for log in waiting for value in log.values() if isinstance(value, Tensor)]
        # One copy for all numbers; float64 holds those of every other type.
        numbers = iter(torch.stack([t.double() for t in tensors]).tolist() if tensors else [])
        for log in waiting:
            for key, value in log.items():
                runner.message_hub.update_scalar(f"train/{key}", next(numbers) if isinstance(value, Tensor) else value)
        self._forget(runner.message_hub.log_scalars)

    def _forget(self, buffers: dict[str, HistoryBuffer]) -> None:
        for key, buffer in buffers.items():
            values, counts = buffer.data
            if len(values) > 2 * self.max_history:  # not at every iteration
                buffers[key] = HistoryBuffer(values[-self.max_history :], counts[-self.max_history :])
