"""Cross-entropy of logits that are coarser than their labels.

Shape legend: N images, C classes, h x w size of the logits, H x W size of the labels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .resize import resize


class UpsampledCrossEntropy(NamedTuple):
    """What :func:`upsample_cross_entropy` returns; every reduction, hard-example mining and accuracy sit on top.

    Attributes:
        loss: cross-entropy per pixel, (N, H, W), dtype of the logits (at least float32), 0 where the label is ignored;
            the only member that carries a gradient.
        pred: class with the highest score per pixel, (N, H, W) int64.
        prob: softmax probability of that class, (N, H, W), in [1 / C, 1].
    """

    loss: Tensor
    pred: Tensor
    prob: Tensor


def upsample_cross_entropy(
    logits: Tensor,
    label: Tensor,
    *,
    align_corners: bool = False,
    ignore_index: int = 255,
    class_weight: Tensor | None = None,
) -> UpsampledCrossEntropy:
    """Resize logits bilinearly to the size of the labels and take the cross-entropy of every pixel.

    This is the definition in plain PyTorch: it makes the (N, C, H, W) tensor.

    Args:
        logits: (N, C, h, w), floating.
        label: (N, H, W) int64, classes in [0, C) or ``ignore_index``.
        align_corners: see :func:`gcseg.ops.resize`.
        ignore_index: label of pixels whose loss and gradient are 0.
        class_weight: factor on the loss of each true class, (C,); None is 1 for all.

    Returns:
        See :class:`UpsampledCrossEntropy`.

    Raises:
        ValueError: shapes that do not fit each other.
    """
    if logits.ndim != 4 or label.ndim != 3 or logits.shape[0] != label.shape[0]:
        raise ValueError(
            f"upsample_cross_entropy: logits are {tuple(logits.shape)}, labels {tuple(label.shape)}; "
            "needed are (N, C, h, w) and (N, H, W)"
        )
    if class_weight is not None and class_weight.shape != logits.shape[1:2]:
        raise ValueError(
            f"upsample_cross_entropy: class_weight is {tuple(class_weight.shape)} for {logits.shape[1]} classes; "
            "give one weight per class"
        )
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    full = resize(logits, size=label.shape[-2:], mode="bilinear", align_corners=align_corners)
    loss = F.cross_entropy(full, label, weight=class_weight, ignore_index=ignore_index, reduction="none")
    with torch.no_grad():
        top, pred = full.max(dim=1)
        prob = (top - full.logsumexp(dim=1)).exp()
    return UpsampledCrossEntropy(loss, pred, prob)
