"""What several processes have to do together around a validation."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from torch import Tensor, nn

from gcseg.engine.sharded import FSDP2, share_in_saving
from gcseg.registry import HOOKS


@HOOKS.register_module()
class ProcessesHook(Hook):
    """Let all processes validate the same model; every run of several processes has this hook.

    Without SyncBN the running statistics of the processes differ, because each has seen other images. What is saved are
    those of rank 0, and so these are what is validated: they go to all processes before a validation. A model that is
    sharded (:class:`~gcseg.engine.sharded.FSDP2`) is whole during a validation, and saved by all processes together.
    """

    priority = "VERY_HIGH"

    def before_train(self, runner: Any) -> None:
        """Prepare for saving what is sharded."""
        if isinstance(runner.model, FSDP2):
            share_in_saving(runner)

    def before_val_epoch(self, runner: Any) -> None:
        """The same model everywhere."""
        if get_world_size() > 1:
            broadcast_buffers(runner.model)
        if isinstance(runner.model, FSDP2):
            runner.model.gather()

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Back to the shares."""
        if isinstance(runner.model, FSDP2):
            runner.model.scatter()


def broadcast_buffers(model: nn.Module) -> None:
    """Give all processes the buffers of rank 0, in one message for each dtype."""
    groups: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for buffer in model.buffers():
        groups.setdefault((buffer.dtype, buffer.device), []).append(buffer)
    for buffers in groups.values():
        flat = torch.cat([b.flatten() for b in buffers])
        torch.distributed.broadcast(flat, src=0)
        for buffer, values in zip(buffers, flat.split([b.numel() for b in buffers]), strict=True):
            buffer.copy_(values.view_as(buffer))
