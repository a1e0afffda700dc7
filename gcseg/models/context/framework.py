"""What all context blocks share: ``z = F(x, delta(context(x)))`` (Cao et al. 2019, arXiv 1904.11492, eq. 3).

Context modelling makes a feature per image or per position, a transform finds the dependencies of its channels, fusion
puts it back at every position. Shape legend: N batch, C channels; positions may lie on 1, 2 or 3 axes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

import torch.fx
from torch import Tensor, nn

from gcseg.models.context.transform import TRANSFORMS, make_transform, zero_last_layer

FUSIONS = ("add", "scale", "both")
Transform = str | Callable[[int, int], nn.Sequential]


class BaseContext(nn.Module, ABC):
    """``z = x * sigmoid(T_mul(c)) + T_add(c)`` with the context ``c`` that a sub-class models.

    Args:
        in_channels: C, channels of the input and of the output.
        dims: number of axes of the positions: 1, 2 or 3.
    """

    # Where the transforms stand in the state dict.
    add_name = "channel_add_conv"
    mul_name = "channel_mul_conv"

    def __init__(self, in_channels: int, dims: int) -> None:
        super().__init__()
        check_choice("dims", dims, (1, 2, 3))
        check_count("in_channels", in_channels)
        self.in_channels = in_channels
        self.dims = dims

    def _add_transforms(
        self,
        context_channels: int,
        transform: Transform,
        fusion: str,
        ratio: float | None,
        layer_norm: bool | None,
    ) -> None:
        """Register the transforms that the fusion needs, see :func:`context_block` for the options."""
        check_choice("fusion", fusion, FUSIONS)
        self.transform = transform if isinstance(transform, str) else "custom"
        self.fusion = fusion
        if callable(transform):
            make = transform
        else:
            check_choice("transform", transform, TRANSFORMS)
            make = make_transform(transform, self.in_channels, ratio, layer_norm, self.dims)
        for name, wanted in ((self.add_name, fusion != "scale"), (self.mul_name, fusion != "add")):
            setattr(self, name, make(context_channels, self.in_channels) if wanted else None)

    def zero_transforms(self) -> None:
        """Set the last layers of the transforms to zero: addition alone is then the identity, scaling halves."""
        for transform in (getattr(self, self.add_name), getattr(self, self.mul_name)):
            if transform is not None:
                zero_last_layer(transform)

    @abstractmethod
    def context(self, x: Tensor) -> Tensor:
        """What the block knows of the whole input: (N, C, *positions) to (N, D, *positions), or ones in their place."""

    def forward(self, x: Tensor) -> Tensor:
        """Add the context to, or scale with it, every position.

        Args:
            x: features, (N, C, *positions), floating.

        Returns:
            (N, C, *positions).

        Raises:
            ValueError: another number of axes or channels.
        """
        check_features(x, self.dims, self.in_channels, type(self).__name__)
        context = self.context(x)
        add, mul = getattr(self, self.add_name), getattr(self, self.mul_name)
        out = x if mul is None else x * mul(context).sigmoid()
        return out if add is None else out + add(context)


@torch.fx.wrap  # what depends on the features' shape is one call in the graphs of torch.fx, which knows no shapes
def check_features(x: Tensor, dims: int, in_channels: int, name: str) -> None:
    """Raise ValueError unless ``x`` is (N, in_channels, *positions), with the positions on so many axes."""
    if x.dim() != dims + 2 or x.shape[1] != in_channels:
        raise ValueError(
            f"{name}: received features of shape {tuple(x.shape)}; with dims={dims} they have {dims + 2} axes, the "
            f"first two for batch and channels, and in_channels={in_channels}"
        )


def check_count(name: str, value: Any) -> None:
    """Raise ValueError unless ``value`` is a whole number from 1."""
    if not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name}: received {value!r}, allowed are whole numbers from 1")


def check_choice(name: str, value: Any, allowed: Sequence[Any]) -> None:
    """Raise ValueError unless ``value`` is one of ``allowed``."""
    if value not in allowed:
        raise ValueError(f"{name}: received {value!r}, allowed are {', '.join(map(str, allowed))}")
