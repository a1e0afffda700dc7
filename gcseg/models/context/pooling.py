"""Context modelling with one result per image: attention pooling and average pooling.

Shape legend: N batch, C channels, P positions on one, two or three axes, o the single attention map.
"""

from __future__ import annotations

import torch
from torch import Tensor


def wide_softmax(scores: Tensor) -> Tensor:
    """Softmax over the last axis, computed in float32 at least and returned in the dtype of ``scores``.

    Half precision cannot hold the sum over tens of thousands of positions; float64 is kept.
    """
    return scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(scores.dtype)


def attention_pool(x: Tensor, logits: Tensor) -> Tensor:
    """Weighted mean of the features over all positions (Cao et al. 2019, eq. 4, context modelling).

    Reads ``x`` once and makes nothing of its size.

    Args:
        x: features, (N, C, H, W), any floating dtype; or with one or three axes of positions.
        logits: one score per position, (N, 1, H, W); the weights are their softmax over all of them, in float32 at
            least.

    Returns:
        (N, C, 1, 1), dtype of ``x`` (under autocast: of a matrix product). A convex combination of
        the columns of ``x``.

    Raises:
        ValueError: spatial sizes of ``x`` and ``logits`` differ.
    """
    if x.shape[2:] != logits.shape[2:]:
        raise ValueError(
            f"attention_pool: features are {tuple(x.shape[2:])} but scores are {tuple(logits.shape[2:])} (H, W); "
            "compute the scores from the same feature map"
        )
    weights = wide_softmax(logits.flatten(2)).to(x.dtype)  # N 1 P
    features = x.flatten(2)  # N C P
    # The product that reads the features in the order in which they are stored. The other one copies them first in
    # bfloat16, and takes three to ten times as long; so does its backward pass.
    if x.stride(1) < x.stride(-1):
        pooled = torch.bmm(weights, features.transpose(1, 2))  # channels_last
    else:
        pooled = torch.bmm(features, weights.transpose(1, 2))
    return pooled.reshape(*x.shape[:2], *[1] * (x.dim() - 2))


def average_pool(x: Tensor) -> Tensor:
    """Mean of the features over all positions.

    Args:
        x: features, (N, C, H, W), any floating dtype; or with one or three axes of positions.

    Returns:
        (N, C, 1, 1), dtype of ``x``.
    """
    return x.mean(tuple(range(2, x.dim())), keepdim=True)
