"""Tversky loss (Salehi et al. 2017, arXiv 1706.05721, equation 3)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from gcseg.models.losses.utils import SegLoss, check_shapes, valid_pixels, weight_reduce_loss
from gcseg.registry import MODELS
from gcseg.utils.errors import ConfigError


@MODELS.register_module()
class TverskyLoss(SegLoss):
    """One minus the Tversky index ``TP / (TP + alpha FP + beta FN)``, the mean over the classes.

    Args:
        smooth: added to numerator and denominator.
        class_weight: one weight per class, or a .npy, .json, .yaml or .txt file with them.
        loss_weight: factor on the result.
        ignore_index: pixels with this label do not count; if it is one of the classes, that class adds no loss.
        alpha: cost of false positives.
        beta: cost of false negatives; ``alpha + beta`` must be 1.
        loss_name: key of the loss in the log.
        reduction: over the images: ``'none'``, ``'mean'`` or ``'sum'``.

    Raises:
        ConfigError: ``alpha + beta`` is not 1.
    """

    def __init__(
        self,
        smooth: float = 1,
        class_weight: Sequence[float] | str | Path | None = None,
        loss_weight: float = 1.0,
        ignore_index: int | None = 255,
        alpha: float = 0.3,
        beta: float = 0.7,
        loss_name: str = "loss_tversky",
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction, class_weight, loss_weight, loss_name)
        if not math.isclose(alpha + beta, 1.0):
            raise ConfigError(
                f"TverskyLoss: alpha={alpha} and beta={beta} add up to {alpha + beta}; they must add up to 1"
            )
        self.smooth = smooth
        self.ignore_index = ignore_index
        self.alpha = alpha
        self.beta = beta

    def forward(
        self,
        cls_score: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
        ignore_index: int | None = None,
    ) -> Tensor:
        """Loss of logits against labels.

        Args:
            cls_score: logits, (N, C, H, W).
            label: class indices, (N, H, W) int64.
            weight: not used, with a warning: the loss compares regions, not pixels.
            avg_factor: divisor of the mean, instead of the number of images.
            reduction_override: reduction for this call.
            ignore_index: label of pixels that do not count, besides the constructor's.

        Returns:
            Scalar, or (N,) for ``'none'``.

        Raises:
            ValueError: shapes that do not fit.
        """
        check_shapes("TverskyLoss", cls_score, label)
        if weight is not None:
            warnings.warn(
                "TverskyLoss compares regions and does not use pixel weights (those of a sampler, for example)"
            )
        channels = cls_score.shape[1]
        prob = cls_score.softmax(dim=1)
        classes = torch.arange(channels, device=label.device).view(1, -1, 1, 1)
        target = (label.unsqueeze(1) == classes).to(prob.dtype)
        valid = valid_pixels(label, self.ignore_index, ignore_index).unsqueeze(1).to(prob.dtype)

        def total(values: Tensor) -> Tensor:
            return (values * valid).flatten(2).sum(2)  # N C

        hit = total(prob * target)
        index = (hit + self.smooth) / (
            hit + self.alpha * total(prob * (1 - target)) + self.beta * total((1 - prob) * target) + self.smooth
        )
        loss = 1 - index
        class_weight = self._class_weights(loss, channels)
        if class_weight is not None:
            loss = loss * class_weight
        if self.ignore_index is not None and 0 <= self.ignore_index < channels:
            loss = loss * (classes.view(1, -1) != self.ignore_index)
        loss = loss.mean(dim=1)
        return self.loss_weight * weight_reduce_loss(loss, None, self._reduction(reduction_override), avg_factor)
