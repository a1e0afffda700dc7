"""The global context (GC) block."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from gcseg.models.context.pooling import attention_pool, average_pool
from gcseg.models.context.transform import bottleneck_transform, zero_last_layer

POOLING_TYPES = ("att", "avg")
FUSION_TYPES = ("channel_add", "channel_mul")


class GlobalContext(nn.Module):
    """Global context block: one context vector per image, transformed, and given back to every position.

    ``z = x * sigmoid(T_mul(c)) + T_add(c)`` with ``c`` the pooled features (Cao et al. 2019, arXiv 1904.11492, eq. 5 is
    the sum alone). The last layers of ``T_mul`` and ``T_add`` start at zero: a new block with addition alone is the
    identity, one with scaling halves its input.

    Parameter names are those of mmcv's ``ContextBlock``: ``conv_mask``, ``channel_add_conv.{0,1,3}``,
    ``channel_mul_conv.{0,1,3}``.

    Args:
        in_channels: C, channels of the input and of the output.
        ratio: the transforms have ``int(in_channels * ratio)`` channels inside.
        pooling_type: ``"att"``, softmax attention over the positions, or ``"avg"``, their mean.
        fusion_types: any of ``"channel_add"`` and ``"channel_mul"``, at least one; their order has no influence.

    Raises:
        ValueError: an unknown pooling or fusion type, no fusion type, or a ratio that leaves no channel.
    """

    def __init__(
        self,
        in_channels: int,
        ratio: float,
        pooling_type: str = "att",
        fusion_types: Sequence[str] = ("channel_add",),
    ) -> None:
        super().__init__()
        if pooling_type not in POOLING_TYPES:
            raise ValueError(f"pooling_type: received {pooling_type!r}, allowed are {', '.join(POOLING_TYPES)}")
        if isinstance(fusion_types, str):
            raise ValueError(f"fusion_types: received the text {fusion_types!r}; write a tuple, ({fusion_types!r},)")
        unknown = [name for name in fusion_types if name not in FUSION_TYPES]
        if unknown or not fusion_types:
            raise ValueError(
                f"fusion_types: received {tuple(fusion_types)!r}, allowed are one or both of {', '.join(FUSION_TYPES)}"
            )
        planes = int(in_channels * ratio)
        if planes < 1:
            raise ValueError(
                f"ratio: {ratio} of {in_channels} channels leaves none for the transform; "
                f"choose a ratio of at least 1/{in_channels}"
            )
        self.in_channels = in_channels
        self.ratio = ratio
        self.planes = planes
        self.pooling_type = pooling_type
        self.fusion_types = tuple(fusion_types)
        self.conv_mask = nn.Conv2d(in_channels, 1, kernel_size=1) if pooling_type == "att" else None
        self.channel_add_conv = bottleneck_transform(in_channels, planes) if "channel_add" in fusion_types else None
        self.channel_mul_conv = bottleneck_transform(in_channels, planes) if "channel_mul" in fusion_types else None
        self.init_weights()

    def init_weights(self) -> None:
        """Start as published: Kaiming-normal attention scores, transforms that return zero."""
        if self.conv_mask is not None:
            nn.init.kaiming_normal_(self.conv_mask.weight, mode="fan_in", nonlinearity="relu")
            if self.conv_mask.bias is not None:
                nn.init.zeros_(self.conv_mask.bias)
        for transform in (self.channel_add_conv, self.channel_mul_conv):
            if transform is not None:
                zero_last_layer(transform)

    def spatial_pool(self, x: Tensor) -> Tensor:
        """Context of each image.

        Args:
            x: features, (N, C, H, W).

        Returns:
            (N, C, 1, 1).
        """
        if self.conv_mask is None:
            return average_pool(x)
        return attention_pool(x, self.conv_mask(x))

    def forward(self, x: Tensor) -> Tensor:
        """Add the context to, or scale with it, every position.

        Args:
            x: features, (N, C, H, W), floating.

        Returns:
            (N, C, H, W).
        """
        context = self.spatial_pool(x)  # N C 1 1
        out = x
        if self.channel_mul_conv is not None:
            out = out * self.channel_mul_conv(context).sigmoid()
        if self.channel_add_conv is not None:
            out = out + self.channel_add_conv(context)
        return out

    def extra_repr(self) -> str:
        """Options shown by ``print``."""
        return f"ratio={self.ratio}, pooling_type={self.pooling_type!r}, fusion_types={self.fusion_types}"
