"""Lovasz losses, surrogates of the IoU (Berman et al. 2018, arXiv 1705.08790, algorithm 1 and equation 8)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from gcseg.models.losses.utils import SegLoss, check_shapes, valid_pixels, weight_reduce_loss
from gcseg.registry import MODELS
from gcseg.utils.errors import ConfigError


def lovasz_extension(errors: Tensor, foreground: Tensor) -> Tensor:
    """Lovasz extension of the Jaccard loss of one class at a vector of errors.

    Sorted by falling error, each error is weighed by what its pixel adds to the Jaccard loss when it joins the set of
    mispredicted pixels.

    Args:
        errors: non-negative errors, (P,), floating.
        foreground: 1 where the pixel belongs to the class, else 0, (P,), dtype of ``errors``.

    Returns:
        Scalar; 0 when there are no pixels.
    """
    errors, order = errors.sort(dim=0, descending=True)
    foreground = foreground[order]
    total = foreground.sum()
    jaccard = 1 - (total - foreground.cumsum(0)) / (total + (1 - foreground).cumsum(0))
    added = torch.diff(jaccard, prepend=jaccard.new_zeros(1))
    return torch.dot(errors, added)


@MODELS.register_module()
class LovaszLoss(SegLoss):
    """Lovasz-Softmax over classes, or the Lovasz hinge for one channel.

    Args:
        loss_type: ``'multi_class'`` (softmax) or ``'binary'`` (hinge; logits of one channel, labels 0 and 1).
        classes: for ``'multi_class'``: ``'present'`` averages over the classes that occur in the labels, ``'all'`` over
            all, a list over the classes in it.
        per_image: one loss per image, then the reduction; otherwise one loss for the pixels of the whole batch.
        reduction: ``'none'``, ``'mean'`` or ``'sum'`` over images; the whole batch has a single number in any case.
        class_weight: one weight per class, or a .npy, .json, .yaml or .txt file with them.
        loss_weight: factor on the result.
        loss_name: key of the loss in the log.

    Raises:
        ConfigError: unknown ``loss_type`` or ``classes``.
    """

    def __init__(
        self,
        loss_type: str = "multi_class",
        classes: str | Sequence[int] = "present",
        per_image: bool = False,
        reduction: str = "mean",
        class_weight: Sequence[float] | str | Path | None = None,
        loss_weight: float = 1.0,
        loss_name: str = "loss_lovasz",
    ) -> None:
        super().__init__(reduction, class_weight, loss_weight, loss_name)
        if loss_type not in ("binary", "multi_class"):
            raise ConfigError(f"LovaszLoss: loss_type={loss_type!r}; allowed are 'multi_class' and 'binary'")
        named = isinstance(classes, str)
        if (named and classes not in ("present", "all")) or (
            not named and not (classes and all(isinstance(c, int) for c in classes))
        ):
            raise ConfigError(
                f"LovaszLoss: classes={classes!r}; allowed are 'present', 'all' or a list of class indices"
            )
        if loss_type == "binary" and class_weight is not None:
            raise ConfigError("LovaszLoss: class_weight has no effect with loss_type='binary'; drop it")
        self.loss_type = loss_type
        self.classes = classes
        self.per_image = per_image

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
            cls_score: logits, (N, C, H, W); (N, 1, H, W) or (N, H, W) for ``'binary'``.
            label: class indices, (N, H, W) int64.
            weight: not used, with a warning: the loss compares regions, not pixels.
            avg_factor: divisor of the mean over images; needs ``per_image``.
            reduction_override: reduction for this call.
            ignore_index: label of pixels that do not count.

        Returns:
            Scalar, or (N,) for ``'none'`` with ``per_image``.

        Raises:
            ValueError: shapes that do not fit, or ``avg_factor`` without ``per_image``.
        """
        reduction = self._reduction(reduction_override)
        binary = self.loss_type == "binary"
        if binary and cls_score.ndim == label.ndim:
            cls_score = cls_score.unsqueeze(1)
        check_shapes("LovaszLoss", cls_score, label)
        if binary != (cls_score.shape[1] == 1):
            raise ValueError(
                f"LovaszLoss: loss_type={self.loss_type!r} but the logits have {cls_score.shape[1]} channels; use "
                "'binary' for one channel and 'multi_class' for more"
            )
        if weight is not None:
            warnings.warn(
                "LovaszLoss compares regions and does not use pixel weights (those of a sampler, for example)"
            )
        if avg_factor is not None and not self.per_image:
            raise ValueError("LovaszLoss: avg_factor divides a sum over images and needs per_image=True")
        scores = cls_score if binary else cls_score.softmax(dim=1)
        scores = scores.movedim(1, -1).flatten(1, -2)  # N P C
        label = label.flatten(1)  # N P
        valid = valid_pixels(label, ignore_index)
        class_weight = self._class_weights(scores, scores.shape[-1])
        if not self.per_image:
            return self.loss_weight * self._of_pixels(scores[valid], label[valid], class_weight)
        losses = [
            self._of_pixels(score[mask], truth[mask], class_weight)
            for score, truth, mask in zip(scores, label, valid, strict=True)
        ]
        return self.loss_weight * weight_reduce_loss(torch.stack(losses), None, reduction, avg_factor)

    def _of_pixels(self, scores: Tensor, label: Tensor, class_weight: Tensor | None) -> Tensor:
        """Loss of the pixels of one image or batch, from scores (P, C) and labels (P,)."""
        if label.numel() == 0:
            return scores.sum()  # 0, and keeps the graph
        if self.loss_type == "binary":
            truth = (label == 1).to(scores.dtype)
            return lovasz_extension(F.relu(1 - scores[:, 0] * (2 * truth - 1)), truth)
        classes = range(scores.shape[1]) if isinstance(self.classes, str) else self.classes
        losses = []
        for c in classes:
            truth = (label == c).to(scores.dtype)
            if self.classes == "present" and not truth.any():
                continue
            loss = lovasz_extension((truth - scores[:, c]).abs(), truth)
            losses.append(loss if class_weight is None else loss * class_weight[c])
        return torch.stack(losses).mean() if losses else scores.sum() * 0
