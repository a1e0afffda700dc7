"""Blocks with one context vector per image: global context, simplified non-local, squeeze and excitation."""

from __future__ import annotations

from collections.abc import Sequence

import torch.fx
from torch import Tensor, nn

from gcseg.models.context.framework import BaseContext, Transform, check_choice
from gcseg.models.context.pooling import attention_pool, average_pool, wide_softmax
from gcseg.models.context.transform import CONVS

torch.fx.wrap("attention_pool")
torch.fx.wrap("average_pool")

POOLINGS = ("attention", "average")
POOLING_TYPES = {"att": "attention", "avg": "average"}
FUSION_TYPES = {"channel_add": "add", "channel_mul": "scale"}


class PooledContext(BaseContext):
    """A context vector per image, transformed, and given back to every position.

    Parameter names are those of mmcv's ``ContextBlock``: ``conv_mask``, ``channel_add_conv.{0,1,3}``,
    ``channel_mul_conv.{0,1,3}``; a linear transform has only ``0``.

    Args:
        in_channels: C, channels of the input and of the output.
        modelling: ``"attention"``, softmax attention over the positions, or ``"average"``, their mean.
        transform: ``"linear"`` or ``"bottleneck"``, see :func:`~gcseg.models.context.transform.make_transform`; or a
            function that makes a Sequential from the channels in and out.
        fusion: ``"add"``, ``"scale"`` (by a sigmoid) or ``"both"``.
        ratio: a bottleneck has ``int(in_channels * ratio)`` channels inside; 1/4 by default.
        layer_norm: whether a bottleneck normalises; it does by default.
        zeros_init: the last layers of the transforms start at zero: addition alone is the identity at first, scaling
            halves.
        dims: number of axes of the positions, 1, 2 or 3.

    Raises:
        ValueError: an unknown option, or options that do not fit each other.
    """

    def __init__(
        self,
        in_channels: int,
        modelling: str = "attention",
        transform: Transform = "bottleneck",
        fusion: str = "add",
        *,
        ratio: float | None = None,
        layer_norm: bool | None = None,
        zeros_init: bool = True,
        dims: int = 2,
    ) -> None:
        super().__init__(in_channels, dims)
        check_choice("modelling", modelling, POOLINGS)
        self.modelling = modelling
        self.zeros_init = zeros_init
        self.conv_mask = CONVS[dims](in_channels, 1, kernel_size=1) if modelling == "attention" else None
        self._add_transforms(in_channels, transform, fusion, ratio, layer_norm)
        self.init_weights()

    def init_weights(self) -> None:
        """Start as published: Kaiming-normal attention scores, and with ``zeros_init`` transforms that return zero."""
        if self.conv_mask is not None:
            nn.init.kaiming_normal_(self.conv_mask.weight, mode="fan_in", nonlinearity="relu")
            if self.conv_mask.bias is not None:
                nn.init.zeros_(self.conv_mask.bias)
        if self.zeros_init:
            self.zero_transforms()

    def context(self, x: Tensor) -> Tensor:
        """Context of each image: (N, C, *positions) to (N, C, 1, 1) for ``dims=2``."""
        if self.conv_mask is None:
            return average_pool(x)
        return attention_pool(x, self.conv_mask(x))

    def attention_map(self, x: Tensor) -> Tensor:
        """How much each position counts in the context.

        Args:
            x: features, (N, C, *positions).

        Returns:
            (N, 1, *positions), not negative; each map sums to one.
        """
        if self.conv_mask is None:
            return x.new_full((x.shape[0], 1, *x.shape[2:]), 1 / x.shape[2:].numel())
        logits = self.conv_mask(x)
        return wide_softmax(logits.flatten(2)).view_as(logits)

    def extra_repr(self) -> str:
        """Options shown by ``print``."""
        return f"modelling={self.modelling!r}, transform={self.transform!r}, fusion={self.fusion!r}"


class GlobalContext(PooledContext):
    """Global context (GC) block: attention pooling, bottleneck with normalisation (Cao et al. 2019, arXiv 1904.11492).

    ``z = x * sigmoid(T_mul(c)) + T_add(c)`` with ``c`` the pooled features (eq. 5 is the sum alone). The options are
    those of mmcv's ``ContextBlock``.

    Args:
        in_channels: C, channels of the input and of the output.
        ratio: the transforms have ``int(in_channels * ratio)`` channels inside.
        pooling_type: ``"att"``, softmax attention over the positions, or ``"avg"``, their mean.
        fusion_types: any of ``"channel_add"`` and ``"channel_mul"``, at least one; their order has no influence.
        dims: number of axes of the positions, 1, 2 or 3.

    Raises:
        ValueError: an unknown pooling or fusion type, no fusion type, or a ratio that leaves no channel.
    """

    def __init__(
        self,
        in_channels: int,
        ratio: float = 1 / 4,
        pooling_type: str = "att",
        fusion_types: Sequence[str] = ("channel_add",),
        *,
        dims: int = 2,
    ) -> None:
        check_choice("pooling_type", pooling_type, tuple(POOLING_TYPES))
        if isinstance(fusion_types, str):
            raise ValueError(f"fusion_types: received the text {fusion_types!r}; write a tuple, ({fusion_types!r},)")
        if not fusion_types or not set(fusion_types) <= set(FUSION_TYPES):
            raise ValueError(
                f"fusion_types: received {tuple(fusion_types)!r}, allowed are one or both of {', '.join(FUSION_TYPES)}"
            )
        fusion = "both" if len(set(fusion_types)) == 2 else FUSION_TYPES[fusion_types[0]]
        super().__init__(in_channels, POOLING_TYPES[pooling_type], "bottleneck", fusion, ratio=ratio, dims=dims)
        self.ratio = ratio


class SimplifiedNonLocal(PooledContext):
    """Simplified non-local (SNL) block: one attention map for all queries, linear transform, addition.

    Cao et al. 2019 (arXiv 1904.11492, eq. 2): ``z_i = x_i + Wv sum_j softmax_j(Wk x_j) x_j``.

    Args:
        in_channels: C.
        zeros_init: start as the identity.
        dims: number of axes of the positions, 1, 2 or 3.
    """

    def __init__(self, in_channels: int, *, zeros_init: bool = True, dims: int = 2) -> None:
        super().__init__(in_channels, "attention", "linear", "add", zeros_init=zeros_init, dims=dims)


class SE(PooledContext):
    """Squeeze-and-excitation (SE) block: average pooling, bottleneck without normalisation, scaling by a sigmoid.

    Hu et al. 2018 (arXiv 1709.01507, eq. 3), with 1x1 convolutions for its fully connected layers. It starts at random,
    as published.

    Args:
        in_channels: C.
        ratio: the bottleneck has ``int(in_channels * ratio)`` channels inside; 1/16 as published.
        zeros_init: start by halving the input.
        dims: number of axes of the positions, 1, 2 or 3.

    Raises:
        ValueError: a ratio that leaves no channel.
    """

    def __init__(self, in_channels: int, ratio: float = 1 / 16, *, zeros_init: bool = False, dims: int = 2) -> None:
        super().__init__(
            in_channels,
            "average",
            "bottleneck",
            "scale",
            ratio=ratio,
            layer_norm=False,
            zeros_init=zeros_init,
            dims=dims,
        )
