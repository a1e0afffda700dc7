"""Choice of the pixels that a head learns from: online hard example mining (Shrivastava et al. 2016, 1604.03540)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gcseg.models.losses.utils import valid_pixels
from gcseg.registry import TASK_UTILS
from gcseg.utils.errors import ConfigError


class BasePixelSampler:
    """Base of the samplers: ``sample(seg_logit, seg_label)`` gives a weight per pixel."""

    def __init__(self, **kwargs: Any) -> None:
        if kwargs:
            raise ConfigError(f"{type(self).__name__}: unknown arguments {', '.join(kwargs)}")

    def sample(self, seg_logit: Tensor, seg_label: Tensor) -> Tensor:
        """Weight per pixel, (N, H, W), from logits (N, C, H, W) and labels (N, 1, H, W)."""
        raise NotImplementedError


@TASK_UTILS.register_module()
class OHEMPixelSampler(BasePixelSampler):
    """Keep the hardest pixels of a batch: weight 1, the others 0.

    With ``thresh``, those whose true class has a probability below it, but at least about ``min_kept`` per image;
    without, the ``min_kept`` per image with the highest loss (counted over the batch).

    Args:
        context: the head; its ``ignore_index`` and ``loss_decode`` are read.
        thresh: probability in (0, 1], or None.
        min_kept: pixels per image, at least 2.

    Raises:
        ConfigError: ``thresh`` or ``min_kept`` out of range.
    """

    def __init__(self, context: Any, thresh: float | None = None, min_kept: int = 100000) -> None:
        super().__init__()
        if min_kept <= 1:
            raise ConfigError(
                f"OHEMPixelSampler: min_kept={min_kept}; it counts pixels per image and must be at least 2"
            )
        if thresh is not None and not 0 < thresh <= 1:
            raise ConfigError(f"OHEMPixelSampler: thresh={thresh}; it is a probability in (0, 1], or None")
        self.context = context
        self.thresh = thresh
        self.min_kept = min_kept

    @torch.no_grad()
    def sample(self, seg_logit: Tensor, seg_label: Tensor) -> Tensor:
        """Choose the pixels.

        Args:
            seg_logit: logits, (N, C, H, W).
            seg_label: class indices, (N, 1, H, W) int64.

        Returns:
            (N, H, W), 1 for chosen pixels and 0 for others, dtype of ``seg_logit``.

        Raises:
            ValueError: shapes that do not fit, or no loss that tells pixels apart.
        """
        if seg_label.shape != (seg_logit.shape[0], 1, *seg_logit.shape[2:]):
            raise ValueError(
                f"OHEMPixelSampler: logits are {tuple(seg_logit.shape)} but labels {tuple(seg_label.shape)}; needed "
                "are (N, C, H, W) and (N, 1, H, W)"
            )
        label = seg_label.squeeze(1).long()
        valid = valid_pixels(label, self.context.ignore_index)
        kept = min(self.min_kept * label.shape[0], label.numel())
        if self.thresh is not None:
            chosen = self._below_threshold(seg_logit, label, valid, kept)
        else:
            chosen = self._highest_loss(seg_logit, label, valid, kept)
        return (chosen & valid).to(seg_logit.dtype)

    def _below_threshold(self, logits: Tensor, label: Tensor, valid: Tensor, kept: int) -> Tensor:
        index = label.masked_fill(~valid, 0).unsqueeze(1)
        if logits.shape[1] == 1:
            foreground = logits.sigmoid()
            prob = torch.where(index == 1, foreground, 1 - foreground).squeeze(1)
        else:
            prob = logits.softmax(dim=1).gather(1, index).squeeze(1)
        # Ignored pixels sort behind all others, so that the choice needs no count on the host.
        ranked = prob.masked_fill(~valid, torch.inf).flatten().sort().values
        last = (valid.sum() - 1).clamp(min=0, max=kept)
        return prob < ranked.index_select(0, last.view(1)).clamp(min=self.thresh)

    def _highest_loss(self, logits: Tensor, label: Tensor, valid: Tensor, kept: int) -> Tensor:
        total = logits.new_zeros(label.shape)
        ranks = False
        losses = self.context.loss_decode
        for loss_module in losses if isinstance(losses, nn.ModuleList) else [losses]:
            loss = loss_module(
                logits, label, weight=None, ignore_index=self.context.ignore_index, reduction_override="none"
            )
            if loss.ndim == label.ndim + 1:  # per class: a pixel's loss is the sum
                loss = loss.sum(dim=1)
            ranks |= loss.shape == label.shape
            total = total + (loss.view(-1, 1, 1) if loss.ndim == 1 else loss)
        if not ranks:
            raise ValueError(
                "OHEMPixelSampler: thresh=None ranks pixels by their loss, but no loss of the head has one value per "
                "pixel; add a CrossEntropyLoss, or give thresh"
            )
        order = total.masked_fill(~valid, -torch.inf).flatten().sort(descending=True).indices[:kept]
        chosen = torch.zeros(label.numel(), dtype=torch.bool, device=label.device)
        return chosen.scatter_(0, order, True).view(label.shape)


def build_pixel_sampler(cfg: dict, **default_args: Any) -> BasePixelSampler:
    """Build the sampler of a head from its config.

    Args:
        cfg: ``type`` and the constructor's arguments.
        **default_args: arguments that ``cfg`` does not give; ``context`` is the head.
    """
    return TASK_UTILS.build(cfg, default_args=default_args)
