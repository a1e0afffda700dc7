"""The transform step: how the channels of the context depend on each other."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TRANSFORMS = ("linear", "bottleneck")
DEFAULT_RATIO = 1 / 4
CONVS: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels, at each position by itself.

    At one position it is ``nn.LayerNorm([channels, 1, 1])``, whose parameters it has: (channels, 1, 1) for ``dims=2``.

    Args:
        channels: C.
        dims: number of axes of the positions.
    """

    def __init__(self, channels: int, dims: int) -> None:
        super().__init__([channels] + [1] * dims)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C, *positions), floating; the shape stays."""
        weight, bias = self.weight.flatten(), self.bias.flatten()
        return F.layer_norm(x.movedim(1, -1), weight.shape, weight, bias, self.eps).movedim(-1, 1)


def make_transform(
    kind: str, channels: int, ratio: float | None, layer_norm: bool | None, dims: int
) -> Callable[[int, int], nn.Sequential]:
    """Read the options of a transform.

    Args:
        kind: ``"linear"``, one 1x1 convolution (``0`` in the state dict), or ``"bottleneck"``,
            ``W2 ReLU(LN(W1 .))`` (``0``, ``1`` and ``3``; Cao et al. 2019, fig. 4 d).
        channels: of the block.
        ratio: the bottleneck has ``int(channels * ratio)`` channels inside; None: 1/4.
        layer_norm: whether the bottleneck normalises; None: it does.
        dims: number of axes of the positions.

    Returns:
        A function from (channels in, channels out) to a module from (N, channels in, *positions) to
        (N, channels out, *positions).

    Raises:
        ValueError: an option of the bottleneck for a linear transform, or a ratio that leaves no channel.
    """
    conv = CONVS[dims]
    if kind == "linear":
        if ratio is not None or layer_norm:
            raise ValueError(
                f"transform='linear' has no bottleneck, but ratio={ratio}, layer_norm={layer_norm} was given; remove "
                "them, or use transform='bottleneck'"
            )
        return lambda source, target: nn.Sequential(conv(source, target, kernel_size=1))
    ratio = DEFAULT_RATIO if ratio is None else ratio
    if not isinstance(ratio, Real) or not 1 <= channels * ratio < math.inf:
        raise ValueError(
            f"ratio: {ratio!r} of {channels} channels leaves none for the transform; take at least 1/{channels}"
        )
    hidden = int(channels * ratio)

    def bottleneck(source: int, target: int) -> nn.Sequential:
        return nn.Sequential(
            conv(source, hidden, kernel_size=1),
            # Without normalisation the places, and so the names, of the convolutions stay.
            nn.Identity() if layer_norm is False else ChannelNorm(hidden, dims),
            nn.ReLU(inplace=True),
            conv(hidden, target, kernel_size=1),
        )

    return bottleneck


def zero_last_layer(transform: nn.Sequential) -> None:
    """Set the last layer of a transform to zero, in place, so that the transform returns zero."""
    last = transform[-1]
    with torch.no_grad():
        for parameter in last.parameters():
            parameter.zero_()
