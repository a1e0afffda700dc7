"""Cross-entropy over classes, over independent sigmoids, and over masks of known class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from gcseg.models.losses.utils import SegLoss, check_shapes, valid_pixels, weight_reduce_loss
from gcseg.registry import MODELS
from gcseg.utils.errors import ConfigError


def cross_entropy(
    pred: Tensor,
    label: Tensor,
    weight: Tensor | None = None,
    class_weight: Tensor | None = None,
    reduction: str = "mean",
    avg_factor: float | Tensor | None = None,
    ignore_index: int = 255,
    avg_non_ignore: bool = False,
) -> Tensor:
    """Softmax cross-entropy.

    With ``reduction='mean'`` the sum over the pixels that count is divided by

    * the number of all pixels, ignored ones included, by default;
    * the number of pixels that count with ``avg_non_ignore``;
    * with ``class_weight``, the same numbers times the mean class weight of the pixels that count, so that a common
      factor on all class weights changes nothing and weights of 1 are the same as none.

    Args:
        pred: logits, (N, C, ...), floating.
        label: class indices, (N, ...), int64.
        weight: factor per pixel, (N, ...).
        class_weight: factor per class, (C,).
        reduction: ``'none'``, ``'mean'`` or ``'sum'``.
        avg_factor: divisor of the mean, instead of the above.
        ignore_index: label of pixels whose loss is 0.
        avg_non_ignore: see above.

    Returns:
        Scalar, or (N, ...) for ``'none'``.

    Raises:
        ValueError: shapes that do not fit, or ``avg_factor`` with ``'sum'``.
    """
    check_shapes("cross_entropy", pred, label)
    loss = F.cross_entropy(pred, label, reduction="none", ignore_index=ignore_index)
    return reduce_cross_entropy(loss, label, weight, class_weight, reduction, avg_factor, ignore_index, avg_non_ignore)


def reduce_cross_entropy(
    loss: Tensor,
    label: Tensor,
    weight: Tensor | None = None,
    class_weight: Tensor | None = None,
    reduction: str = "mean",
    avg_factor: float | Tensor | None = None,
    ignore_index: int = 255,
    avg_non_ignore: bool = False,
) -> Tensor:
    """The second half of :func:`cross_entropy`: from the loss of every pixel to the loss of the batch.

    Args:
        loss: cross-entropy of each pixel without any weights, (N, ...), 0 where it is ignored.
        label: class indices, (N, ...), int64.
        weight: see :func:`cross_entropy`, and so are all others.

    Returns:
        Scalar, or (N, ...) for ``'none'``.
    """
    if avg_factor is None and reduction == "mean":
        avg_factor = _mean_divisor(label, class_weight, ignore_index, avg_non_ignore)
    if class_weight is not None:
        ignored = label == ignore_index  # their label may be no class; their loss is 0 already
        loss = loss * class_weight[label.masked_fill(ignored, 0)]
    return weight_reduce_loss(loss, weight, reduction, avg_factor)


def _mean_divisor(
    label: Tensor, class_weight: Tensor | None, ignore_index: int, avg_non_ignore: bool
) -> float | Tensor:
    """What the mean of the cross-entropy divides by; stays on the device."""
    if class_weight is None and not avg_non_ignore:
        return label.numel()
    valid = valid_pixels(label, ignore_index)
    if class_weight is None:
        return valid.sum()
    total_weight = (class_weight[label.masked_fill(~valid, 0)] * valid).sum()
    if avg_non_ignore:
        return total_weight
    return total_weight * (label.numel() / valid.sum().clamp(min=1))


def binary_cross_entropy(
    pred: Tensor,
    label: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    avg_factor: float | Tensor | None = None,
    class_weight: Tensor | None = None,
    ignore_index: int = 255,
    avg_non_ignore: bool = False,
) -> Tensor:
    """One sigmoid per channel against the one-hot label; with one channel, against labels 0 and 1.

    The mean divides by all elements (N * C * H * W), or by those of pixels that count with ``avg_non_ignore``.

    Args:
        pred: logits, (N, C, ...), floating.
        label: class indices, (N, ...), integer; or targets in [0, 1] of the shape of ``pred``.
        weight: factor per pixel, (N, ...), or per element.
        reduction: ``'none'``, ``'mean'`` or ``'sum'``.
        avg_factor: divisor of the mean, instead of the above.
        class_weight: factor on the loss of positive pixels of each class, (C,).
        ignore_index: label of pixels that do not count; negative labels do not count either.
        avg_non_ignore: see above.

    Returns:
        Scalar; or for ``'none'`` the shape of ``pred``, without dimension 1 when C = 1 and ``label`` has indices.

    Raises:
        ValueError: shapes that do not fit, or labels above 1 with one channel.
    """
    if label.shape == pred.shape:
        valid = (label >= 0) & (label != ignore_index)
        target = label.to(pred.dtype)
    else:
        check_shapes("binary_cross_entropy", pred, label)
        pixels = valid_pixels(label, ignore_index) & (label >= 0)
        if weight is not None and weight.ndim == label.ndim:
            weight = weight.unsqueeze(1)
        if pred.shape[1] == 1:
            # On a GPU the check would stop the queue in every step; there the data set's own check has to do.
            if label.device.type == "cpu" and (label[pixels] > 1).any():
                raise ValueError(
                    f"binary_cross_entropy: one channel but labels {label[pixels].unique().tolist()[:8]}; one channel "
                    f"tells label 1 from 0 (and {ignore_index} is ignored): use num_classes channels for more"
                )
            target = (label == 1).unsqueeze(1).to(pred.dtype)
        else:
            classes = torch.arange(pred.shape[1], device=pred.device).view(1, -1, *[1] * (label.ndim - 1))
            target = (label.unsqueeze(1) == classes).to(pred.dtype)
        valid = pixels.unsqueeze(1).expand_as(pred)
    if class_weight is not None:
        class_weight = class_weight.view(-1, *[1] * (pred.ndim - 2))
    loss = F.binary_cross_entropy_with_logits(pred, target, pos_weight=class_weight, reduction="none")
    if avg_factor is None and reduction == "mean" and avg_non_ignore:
        avg_factor = valid.sum()
    factor = valid.to(loss.dtype) if weight is None else weight.to(loss.dtype) * valid
    loss = weight_reduce_loss(loss, factor, reduction, avg_factor)
    return loss.squeeze(1) if reduction == "none" and label.ndim == pred.ndim - 1 and pred.shape[1] == 1 else loss


def mask_cross_entropy(
    pred: Tensor,
    target: Tensor,
    label: Tensor,
    reduction: str = "mean",
    avg_factor: float | Tensor | None = None,
    class_weight: Tensor | None = None,
    ignore_index: int | None = None,
    avg_non_ignore: bool = False,
) -> Tensor:
    """Sigmoid cross-entropy of the mask that belongs to the class of each object.

    Args:
        pred: logits of one mask per class for N objects, (N, C, H, W).
        target: true masks, values in [0, 1] or ``ignore_index``, (N, H, W).
        label: class of each object, (N,) int64.
        reduction: ``'none'``, ``'mean'`` or ``'sum'``.
        avg_factor: divisor of the mean, instead of the number of all pixels.
        class_weight: factor per class, (C,).
        ignore_index: value in ``target`` of pixels that do not count; None: all count.
        avg_non_ignore: divide the mean by the number of pixels that count.

    Returns:
        Shape (1,), or (N, H, W) for ``'none'``.

    Raises:
        ValueError: shapes that do not fit.
    """
    check_shapes("mask_cross_entropy", pred, target)
    if label.shape != pred.shape[:1]:
        raise ValueError(
            f"mask_cross_entropy: {pred.shape[0]} masks but classes {tuple(label.shape)}; give one class per mask"
        )
    chosen = pred[torch.arange(pred.shape[0], device=pred.device), label]
    valid = torch.ones_like(target, dtype=torch.bool) if ignore_index is None else target != ignore_index
    loss = F.binary_cross_entropy_with_logits(chosen, target.to(chosen.dtype).masked_fill(~valid, 0), reduction="none")
    factor = valid.to(loss.dtype)
    if class_weight is not None:
        factor = factor * class_weight[label].view(-1, *[1] * (loss.ndim - 1))
    if avg_factor is None and reduction == "mean" and avg_non_ignore:
        avg_factor = valid.sum()
    loss = weight_reduce_loss(loss, factor, reduction, avg_factor)
    return loss if reduction == "none" else loss[None]


@MODELS.register_module()
class CrossEntropyLoss(SegLoss):
    """Cross-entropy in three forms: softmax (default), sigmoids (``use_sigmoid``), masks (``use_mask``).

    Args:
        use_sigmoid: :func:`binary_cross_entropy`; the form for a head with ``out_channels=1``.
        use_mask: :func:`mask_cross_entropy`; ``weight`` of ``forward`` is then the class of each mask.
        reduction: ``'none'``, ``'mean'`` or ``'sum'``.
        class_weight: one weight per class, or a .npy, .json, .yaml or .txt file with them.
        loss_weight: factor on the result.
        loss_name: key of the loss in the log.
        avg_non_ignore: the mean divides by the pixels that count instead of by all pixels. The published models were
            trained with False; PyTorch's own cross-entropy is True.

    Raises:
        ConfigError: options that exclude each other, or unusable class weights.
    """

    def __init__(
        self,
        use_sigmoid: bool = False,
        use_mask: bool = False,
        reduction: str = "mean",
        class_weight: Sequence[float] | str | Path | None = None,
        loss_weight: float = 1.0,
        loss_name: str = "loss_ce",
        avg_non_ignore: bool = False,
    ) -> None:
        super().__init__(reduction, class_weight, loss_weight, loss_name)
        if use_sigmoid and use_mask:
            raise ConfigError(
                "CrossEntropyLoss: use_sigmoid and use_mask are both True; they exclude each other, drop one"
            )
        self.use_sigmoid = use_sigmoid
        self.use_mask = use_mask
        self.avg_non_ignore = avg_non_ignore
        self.starts_from_cross_entropy = not (use_sigmoid or use_mask)

    def extra_repr(self) -> str:
        """Options that are not modules, for ``print(model)``."""
        form = "sigmoid" if self.use_sigmoid else "mask" if self.use_mask else "softmax"
        return f"{form}, {super().extra_repr()}, avg_non_ignore={self.avg_non_ignore}"

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
            cls_score: logits, (N, C, H, W).
            label: class indices, (N, H, W) int64; see the three functions for their other targets.
            weight: factor per pixel, (N, H, W); for ``use_mask`` the class of each mask, (N,) int64.
            avg_factor: divisor of the mean.
            reduction_override: reduction for this call.
            ignore_index: label of pixels that do not count.

        Returns:
            Scalar, or per-pixel losses for ``'none'``.

        Raises:
            ValueError: shapes or labels that do not fit.
        """
        index = -100 if ignore_index is None else ignore_index  # no class has a negative index
        if self.starts_from_cross_entropy:
            loss = cross_entropy(cls_score, label, reduction="none", ignore_index=index)
            return self.from_cross_entropy(
                loss, label, cls_score.shape[1], weight, avg_factor, reduction_override, index
            )
        reduction = self._reduction(reduction_override)
        class_weight = self._class_weights(cls_score, cls_score.shape[1])
        if self.use_mask:
            if weight is None:
                raise ValueError(
                    "CrossEntropyLoss(use_mask=True): weight is None; pass the class of each mask, (N,) int64"
                )
            loss = mask_cross_entropy(
                cls_score, label, weight, reduction, avg_factor, class_weight, ignore_index, self.avg_non_ignore
            )
        else:
            loss = binary_cross_entropy(
                cls_score, label, weight, reduction, avg_factor, class_weight, index, self.avg_non_ignore
            )
        return self.loss_weight * loss

    def from_cross_entropy(
        self,
        loss: Tensor,
        label: Tensor,
        channels: int,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
        ignore_index: int | None = 255,
    ) -> Tensor:
        """:meth:`forward` of the softmax form, for whom the cross-entropy of every pixel is known already.

        Args:
            loss: cross-entropy of each pixel, (N, H, W), 0 where it is ignored.
            label: class indices, (N, H, W) int64.
            channels: number of classes.
            weight: factor per pixel, (N, H, W).
            avg_factor: divisor of the mean.
            reduction_override: reduction for this call.
            ignore_index: label of pixels that do not count.

        Returns:
            Scalar, or per-pixel losses for ``'none'``.
        """
        index = -100 if ignore_index is None else ignore_index
        reduction = self._reduction(reduction_override)
        class_weight = self._class_weights(loss, channels)
        return self.loss_weight * reduce_cross_entropy(
            loss, label, weight, class_weight, reduction, avg_factor, index, self.avg_non_ignore
        )
