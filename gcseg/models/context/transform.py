"""The transform step: how the channels of the pooled context depend on each other."""

from __future__ import annotations

import torch
from torch import nn


def bottleneck_transform(channels: int, hidden_channels: int) -> nn.Sequential:
    """``W2 ReLU(LN(W1 .))``, the transform of the global context block (Cao et al. 2019, fig. 4 d).

    Args:
        channels: channels of the context that comes in and of the term that goes out.
        hidden_channels: channels between the two layers.

    Returns:
        A module from (N, channels, 1, 1) to (N, channels, 1, 1). Its parameters are called ``0`` (1x1 convolution),
        ``1`` (LayerNorm over (hidden_channels, 1, 1)) and ``3`` (1x1 convolution, see :func:`zero_last_layer`).
    """
    return nn.Sequential(
        nn.Conv2d(channels, hidden_channels, kernel_size=1),
        nn.LayerNorm([hidden_channels, 1, 1]),
        nn.ReLU(inplace=True),
        nn.Conv2d(hidden_channels, channels, kernel_size=1),
    )


def zero_last_layer(transform: nn.Sequential) -> None:
    """Set the last layer of a transform to zero, in place, so that the transform returns zero."""
    last = transform[-1]
    with torch.no_grad():
        for parameter in last.parameters():
            parameter.zero_()
