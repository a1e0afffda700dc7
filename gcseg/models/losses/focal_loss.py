"""Focal loss (Lin et al. 2017, arXiv 1708.02002, equation 5) with one sigmoid per class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from gcseg.models.losses.utils import SegLoss, check_shapes, valid_pixels, weight_reduce_loss
from gcseg.registry import MODELS
from gcseg.utils.errors import ConfigError


@MODELS.register_module()
class FocalLoss(SegLoss):
    """Sigmoid cross-entropy per class, times ``alpha_t * (1 - p_t) ** gamma``.

    Args:
        use_sigmoid: must be True; a softmax form is not defined.
        gamma: how strongly well classified pixels are weighed down; 0 not at all.
        alpha: weight of positive pixels in [0, 1]; negative pixels get ``1 - alpha``. A list has one value per class.
        reduction: ``'none'``, ``'mean'`` (over all N * C * H * W elements, ignored ones included) or ``'sum'``.
        class_weight: one weight per class, or a .npy, .json, .yaml or .txt file with them.
        loss_weight: factor on the result.
        loss_name: key of the loss in the log.

    Raises:
        ConfigError: ``use_sigmoid=False``, or values out of range.
    """

    def __init__(
        self,
        use_sigmoid: bool = True,
        gamma: float = 2.0,
        alpha: float | Sequence[float] = 0.5,
        reduction: str = "mean",
        class_weight: Sequence[float] | str | Path | None = None,
        loss_weight: float = 1.0,
        loss_name: str = "loss_focal",
    ) -> None:
        super().__init__(reduction, class_weight, loss_weight, loss_name)
        if use_sigmoid is not True:
            raise ConfigError(f"FocalLoss: use_sigmoid={use_sigmoid!r}; only True is defined")
        alphas = [float(alpha)] if isinstance(alpha, (int, float)) else [float(a) for a in alpha]
        if not alphas or not all(0 <= a <= 1 for a in alphas):
            raise ConfigError(f"FocalLoss: alpha={alpha!r}; needed is a number in [0, 1], or one per class")
        if gamma < 0:
            raise ConfigError(f"FocalLoss: gamma={gamma}; it must be at least 0")
        self.use_sigmoid = use_sigmoid
        self.gamma = float(gamma)
        self.alpha = alphas if not isinstance(alpha, (int, float)) else alphas[0]

    def forward(
        self,
        cls_score: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
        ignore_index: int | None = 255,
    ) -> Tensor:
        """Loss of logits against labels.

        Args:
            cls_score: logits, (N, C, ...).
            label: class indices, (N, ...) int64; or targets in [0, 1] of the shape of ``cls_score``. For C = 1, indices
                0 and 1.
            weight: factor per pixel, (N, ...) or flattened to (N * ...); or per element, (N, C, ...).
            avg_factor: divisor of the mean, instead of the number of elements.
            reduction_override: reduction for this call.
            ignore_index: label of pixels that do not count (for targets in [0, 1]: the class with the highest value).

        Returns:
            Scalar, or (N, C, ...) for ``'none'``.

        Raises:
            ValueError: shapes that do not fit.
        """
        reduction = self._reduction(reduction_override)
        channels = cls_score.shape[1]
        per_class = (1, channels, *[1] * (cls_score.ndim - 2))
        if label.shape == cls_score.shape:
            target = label.to(cls_score.dtype)
            valid = valid_pixels(label.argmax(dim=1), ignore_index)
        else:
            check_shapes("FocalLoss", cls_score, label)
            valid = valid_pixels(label, ignore_index)
            classes = torch.arange(channels, device=label.device).view(per_class)
            target = (label.unsqueeze(1) == (classes if channels > 1 else 1)).to(cls_score.dtype)
        loss = self._focal(cls_score, target, per_class)
        factor = valid.unsqueeze(1).to(loss.dtype)
        if weight is not None:
            if weight.numel() == valid.numel():
                weight = weight.reshape(valid.shape).unsqueeze(1)
            elif weight.shape != loss.shape:
                raise ValueError(
                    f"FocalLoss: weight is {tuple(weight.shape)}; needed is one per pixel, {tuple(valid.shape)}, or "
                    f"per element, {tuple(loss.shape)}"
                )
            factor = factor * weight.to(loss.dtype)
        class_weight = self._class_weights(loss, channels)
        if class_weight is not None:
            factor = factor * class_weight.view(per_class)
        return self.loss_weight * weight_reduce_loss(loss, factor, reduction, avg_factor)

    def _focal(self, logits: Tensor, target: Tensor, per_class: tuple[int, ...]) -> Tensor:
        """Elementwise focal loss of logits and targets of one shape."""
        alpha: float | Tensor = (
            self.alpha if isinstance(self.alpha, float) else self._constant("alpha", self.alpha, logits)
        )
        if isinstance(alpha, Tensor):
            if alpha.numel() != per_class[1]:
                raise ValueError(
                    f"FocalLoss: alpha has {alpha.numel()} values but the logits have {per_class[1]} channels; give "
                    "one number, or one per class"
                )
            alpha = alpha.view(per_class)
        prob = logits.sigmoid()
        miss = (1 - prob) * target + prob * (1 - target)
        balance = alpha * target + (1 - alpha) * (1 - target)
        return F.binary_cross_entropy_with_logits(logits, target, reduction="none") * balance * miss.pow(self.gamma)
