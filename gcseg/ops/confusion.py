"""Confusion matrix of a segmentation."""

from __future__ import annotations

import torch
from torch import Tensor


def confusion_matrix(pred: Tensor, label: Tensor, num_classes: int, ignore_index: int | None = 255) -> Tensor:
    """Count how often each true class was predicted as each class, exactly, in one pass.

    Args:
        pred: predicted classes in [0, num_classes), any shape, integer.
        label: true classes in [0, num_classes) or ``ignore_index``, the shape of ``pred``, integer.
        num_classes: number of classes C.
        ignore_index: label of pixels that are not counted; None counts all.

    Returns:
        (C, C) int64 on the device of ``pred``; row = true class, column = predicted class.

    Raises:
        TypeError: ``pred`` or ``label`` is not integer.
        ValueError: shapes differ, or a counted pixel has a class outside [0, num_classes).
    """
    if pred.shape != label.shape:
        raise ValueError(
            f"confusion_matrix: prediction is {tuple(pred.shape)} but label is {tuple(label.shape)}; resize the "
            "prediction to the label's size first"
        )
    for name, tensor in (("prediction", pred), ("label", label)):
        if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
            raise TypeError(f"confusion_matrix: {name} is {tensor.dtype}; class indices must be an integer type")
    rows = max(num_classes, 256)  # enough for every label of an 8-bit file
    # int32 halves the memory traffic; the caller's images are far below its limit.
    dtype = torch.int32 if rows * num_classes < 2**31 else torch.int64
    pred, true = pred.reshape(-1).to(dtype), label.reshape(-1).to(device=pred.device, dtype=dtype)
    if pred.numel() == 0:
        return torch.zeros(num_classes, num_classes, dtype=torch.int64, device=pred.device)
    ignored = ignore_index
    if ignore_index is not None and not 0 <= ignore_index < rows:
        true = torch.where(true == ignore_index, rows, true)
        ignored, rows = rows, rows + 1
    low, high, pred_low, pred_high = torch.stack([*torch.aminmax(true), *torch.aminmax(pred)]).tolist()
    if pred_low < 0 or pred_high >= num_classes:
        raise ValueError(
            f"confusion_matrix: predictions run from {pred_low} to {pred_high} but num_classes={num_classes}; "
            "the model and the data set must have the same number of classes"
        )
    wrong = [v for v in (low, high) if not 0 <= v < num_classes and v != ignored]
    if not wrong:
        # Every label gets a row, ignored ones too: cheaper than taking their pixels out first.
        counts = torch.bincount(true * num_classes + pred, minlength=rows * num_classes).view(rows, num_classes)
        wrong = [] if high < num_classes else (counts[num_classes:].sum(1).nonzero().flatten() + num_classes).tolist()
        wrong = [v for v in wrong if v != ignored]
    if wrong:
        raise ValueError(
            f"confusion_matrix: labels {wrong[:8]} are outside [0, {num_classes}) and not ignore_index={ignore_index}; "
            "check num_classes, reduce_zero_label and void_labels"
        )
    counts = counts[:num_classes]
    if ignored is not None and ignored < num_classes:
        counts[ignored] = 0
    return counts
