"""A loss that is not finite never reaches the weights, and no step waits for the GPU to know.

Whether the loss is finite is asked on the device before the backward pass begins, and agreed on by all processes; the
answer is on its way to the host while the backward pass runs, and there when the optimizer's turn comes.
"""

from __future__ import annotations

from typing import Any

import torch
from mmengine.dist import get_world_size
from torch import Tensor


class Vote:
    """Questions that one process's yes answers for all.

    Args:
        *answers: of this process; tensors of one element, or bool.
        device: where the loss is.
    """

    def __init__(self, *answers: Tensor | bool, device: torch.device) -> None:
        votes = torch.stack([torch.as_tensor(a, device=device).reshape(()).to(torch.uint8) for a in answers])
        if get_world_size() > 1:
            torch.distributed.all_reduce(votes, op=torch.distributed.ReduceOp.MAX)
        self._event = None
        if votes.is_cuda:
            self._votes = torch.empty(votes.shape, dtype=votes.dtype, pin_memory=True)
            self._votes.copy_(votes, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()
        else:
            self._votes = votes

    def result(self) -> list[bool]:
        """Whether any process said yes, for each question."""
        if self._event is not None:
            self._event.synchronize()
        return [bool(v) for v in self._votes.tolist()]


class GuardedUpdate:
    """Goes before mmengine's ``OptimWrapper`` among the bases of a class: a loss that is not finite makes no step.

    With gradient accumulation such a loss spoils the gradients of its whole group, which are dropped together.

    Attributes:
        non_finite: whether the loss of the last call was not finite, on any process.
        stop_wanted: whether this process has been asked to stop; set before the step.
        stop_agreed: whether any process had been, in the last call.
    """

    non_finite = stop_wanted = stop_agreed = False
    _spoilt = False

    def update_params(
        self: Any, loss: Tensor, step_kwargs: dict | None = None, zero_kwargs: dict | None = None
    ) -> None:
        """Backward pass, and the step where it is due."""
        vote = Vote(~torch.isfinite(loss.detach()).all(), self.stop_wanted, device=loss.device)
        self.backward(self.scale_loss(loss))
        if self.should_update():
            self._hear(vote)
            if not self._spoilt:
                self.step(**(step_kwargs or {}))
            self._spoilt = False
            self.zero_grad(**(zero_kwargs or {}))
        else:
            self._hear(vote)

    def _hear(self, vote: Vote) -> None:
        self.non_finite, self.stop_agreed = vote.result()
        self._spoilt |= self.non_finite
