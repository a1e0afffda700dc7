"""Choice of the pixels that a head learns from: online hard example mining (Shrivastava et al. 2016, 1604.03540)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from gcseg.models.losses.utils import starts_from_cross_entropy, valid_pixels
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
        context: the head; its ``ignore_index``, ``loss_decode`` and ``out_channels`` are read.
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

    @property
    def starts_from_cross_entropy(self) -> bool:
        """Whether :meth:`from_cross_entropy` can take the place of :meth:`sample` for this head."""
        if self.context.out_channels == 1:
            return False
        return self.thresh is not None or all(map(starts_from_cross_entropy, self._losses()))

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
        options = dict(weight=None, ignore_index=self.context.ignore_index, reduction_override="none")
        return self._choose(
            valid,
            lambda: _true_probability(seg_logit, label, valid),
            lambda module: module(seg_logit, label, **options),
        ).to(seg_logit.dtype)

    @torch.no_grad()
    def from_cross_entropy(self, loss: Tensor, seg_label: Tensor, channels: int) -> Tensor:
        """:meth:`sample`, for whom the softmax cross-entropy of every pixel is known already.

        Args:
            loss: cross-entropy of each pixel, (N, H, W), 0 where it is ignored.
            seg_label: class indices, (N, 1, H, W) int64.
            channels: number of classes.

        Returns:
            See :meth:`sample`.
        """
        label = seg_label.squeeze(1).long()
        valid = valid_pixels(label, self.context.ignore_index)
        options = dict(weight=None, ignore_index=self.context.ignore_index, reduction_override="none")
        return self._choose(
            valid,
            lambda: loss.neg().exp(),
            lambda module: module.from_cross_entropy(loss, label, channels, **options),
        ).to(loss.dtype)

    def _choose(
        self, valid: Tensor, true_probability: Callable[[], Tensor], loss_of: Callable[[Any], Tensor]
    ) -> Tensor:
        """The chosen pixels, (N, H, W) bool, from whichever of the two this sampler looks at."""
        if self.thresh is not None:
            return self._below_threshold(true_probability(), valid) & valid
        return self._highest_loss(map(loss_of, self._losses()), valid) & valid

    def _losses(self) -> list[Any]:
        losses = self.context.loss_decode
        return list(losses) if isinstance(losses, nn.ModuleList) else [losses]

    def _kept(self, valid: Tensor) -> int:
        return min(self.min_kept * valid.shape[0], valid.numel())

    def _below_threshold(self, prob: Tensor, valid: Tensor) -> Tensor:
        # Ignored pixels sort behind all others, so that the choice needs no count on the host.
        ranked = prob.masked_fill(~valid, torch.inf).flatten().sort().values
        last = (valid.sum() - 1).clamp(min=0, max=self._kept(valid))
        return prob < ranked.index_select(0, last.view(1)).clamp(min=self.thresh)

    def _highest_loss(self, losses: Iterable[Tensor], valid: Tensor) -> Tensor:
        total: Any = 0
        ranks = False
        for loss in losses:
            if loss.ndim == valid.ndim + 1:  # per class: a pixel's loss is the sum
                loss = loss.sum(dim=1)
            ranks |= loss.shape == valid.shape
            total = total + (loss.view(-1, 1, 1) if loss.ndim == 1 else loss)
        if not ranks:
            raise ValueError(
                "OHEMPixelSampler: thresh=None ranks pixels by their loss, but no loss of the head has one value per "
                "pixel; add a CrossEntropyLoss, or give thresh"
            )
        order = total.masked_fill(~valid, -torch.inf).flatten().sort(descending=True).indices[: self._kept(valid)]
        chosen = torch.zeros(valid.numel(), dtype=torch.bool, device=valid.device)
        return chosen.scatter_(0, order, True).view(valid.shape)


def _true_probability(logits: Tensor, label: Tensor, valid: Tensor) -> Tensor:
    """Probability of the true class of each pixel, (N, H, W); of class 0 where the pixel does not count."""
    index = label.masked_fill(~valid, 0).unsqueeze(1)
    if logits.shape[1] == 1:
        foreground = logits.sigmoid()
        return torch.where(index == 1, foreground, 1 - foreground).squeeze(1)
    return logits.softmax(dim=1).gather(1, index).squeeze(1)


def build_pixel_sampler(cfg: dict, **default_args: Any) -> BasePixelSampler:
    """Build the sampler of a head from its config.

    Args:
        cfg: ``type`` and the constructor's arguments.
        **default_args: arguments that ``cfg`` does not give; ``context`` is the head.
    """
    return TASK_UTILS.build(cfg, default_args=default_args)
