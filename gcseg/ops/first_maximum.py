"""Highest score and its class, faster than the maximum with indices that PyTorch has for a CPU."""

from __future__ import annotations

import torch
from torch import Tensor


def class_dtype(classes: int) -> torch.dtype:
    """The integer type that classes in [0, ``classes``) are kept in, a number per pixel."""
    return torch.uint8 if classes <= 256 else torch.int64


def first_maximum(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Highest score of each pixel, (s, 1, W), and the first class that has it, (s, W); scores are (s, C, W).

    The class is of an integer type that holds it. The same as ``scores.max(dim=1)``, whose search for the index is many
    times slower than that for the value.
    """
    classes = scores.shape[1]
    top = scores.amax(dim=1, keepdim=True)
    if scores.device.type != "cpu" or classes > 255:
        return top, scores.argmax(dim=1)
    rank = torch.arange(classes, 0, -1, dtype=torch.uint8).view(1, classes, 1)
    best = torch.where(scores == top, rank, 0).amax(dim=1)  # 0 where a score is NaN
    return top, classes - best.clamp_(min=1)
