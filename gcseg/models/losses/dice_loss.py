"""Dice loss (Milletari et al. 2016, V-Net, arXiv 1606.04797, section 3)."""

from __future__ import annotations

import torch
from torch import Tensor

from gcseg.models.losses.utils import SegLoss, check_shapes, valid_pixels, weight_reduce_loss
from gcseg.registry import MODELS


@MODELS.register_module()
class DiceLoss(SegLoss):
    """One minus the Dice overlap of probabilities and labels, per image over all classes together.

    V-Net's form is ``1 - 2 sum(p t) / (sum(p^2) + sum(t^2) + 2 eps)``; the naive form is
    ``1 - (2 sum(p t) + eps) / (sum(p) + sum(t) + eps)``.

    Args:
        use_sigmoid: probabilities by a sigmoid per class; False: by softmax over the classes.
        activate: whether ``forward`` receives logits (True) or probabilities.
        reduction: ``'none'`` (one loss per image), ``'mean'`` or ``'sum'``.
        naive_dice: use the naive form.
        loss_weight: factor on the result.
        ignore_index: class that is left out of the sums, if it is one of the classes; labels equal to it that are no
            class mark pixels that do not count.
        eps: keeps an empty image from dividing by zero.
        loss_name: key of the loss in the log.
    """

    def __init__(
        self,
        use_sigmoid: bool = True,
        activate: bool = True,
        reduction: str = "mean",
        naive_dice: bool = False,
        loss_weight: float = 1.0,
        ignore_index: int | None = 255,
        eps: float = 1e-3,
        loss_name: str = "loss_dice",
    ) -> None:
        super().__init__(reduction, None, loss_weight, loss_name)
        self.use_sigmoid = use_sigmoid
        self.activate = activate
        self.naive_dice = naive_dice
        self.ignore_index = ignore_index
        self.eps = eps

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
            cls_score: logits (probabilities if not ``activate``), (N, C, H, W).
            label: class indices, (N, H, W) int64; or one-hot targets of the shape of ``cls_score``. For C = 1,
                indices 0 and 1.
            weight: factor per image, (N,); or per pixel, (N, H, W), in which case it enters the sums.
            avg_factor: divisor of the mean, instead of the number of images.
            reduction_override: reduction for this call.
            ignore_index: label of pixels that do not count.

        Returns:
            Scalar, or (N,) for ``'none'``.

        Raises:
            ValueError: shapes that do not fit, or the only class is ignored.
        """
        reduction = self._reduction(reduction_override)
        channels = cls_score.shape[1]
        if self.activate and self.use_sigmoid:
            cls_score = cls_score.sigmoid()
        elif self.activate and channels > 1:
            cls_score = cls_score.softmax(dim=1)
        pixel_weight = None
        if label.shape == cls_score.shape:
            target = label.to(cls_score.dtype)
        else:
            check_shapes("DiceLoss", cls_score, label)
            valid = valid_pixels(label, ignore_index, num_classes=max(channels, 2))
            classes = torch.arange(channels, device=label.device).view(1, -1, 1, 1)
            target = (label.unsqueeze(1) == (classes if channels > 1 else 1)).to(cls_score.dtype)
            pixel_weight = valid.unsqueeze(1).to(cls_score.dtype)
        if weight is not None and weight.ndim == 3:
            pixels = weight.unsqueeze(1).to(cls_score.dtype)
            pixel_weight = pixels if pixel_weight is None else pixel_weight * pixels
            weight = None
        if self.ignore_index is not None and 0 <= self.ignore_index < channels:
            kept = [c for c in range(channels) if c != self.ignore_index]
            if not kept:
                raise ValueError(f"DiceLoss: ignore_index={self.ignore_index} is the only class; use ignore_index=255")
            cls_score, target = cls_score[:, kept], target[:, kept]
        loss = self._dice(cls_score, target, pixel_weight)
        return self.loss_weight * weight_reduce_loss(loss, weight, reduction, avg_factor)

    def _dice(self, prob: Tensor, target: Tensor, pixel_weight: Tensor | None) -> Tensor:
        """One loss per image, (N,), from (N, C, H, W) probabilities and targets and (N, 1, H, W) weights."""

        def total(values: Tensor) -> Tensor:
            return (values if pixel_weight is None else values * pixel_weight).flatten(1).sum(1)

        overlap = total(prob * target)
        if self.naive_dice:
            return 1 - (2 * overlap + self.eps) / (total(prob) + total(target) + self.eps)
        return 1 - 2 * overlap / (total(prob * prob) + self.eps + total(target * target) + self.eps)
