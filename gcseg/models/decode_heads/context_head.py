"""What the heads with a context block between their two convolutions share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from gcseg.models.decode_heads.fcn_head import FCNHead
from gcseg.models.plugins import layer_makers
from gcseg.registry import MODELS


class BaseContextHead(FCNHead):
    """A two-convolution :class:`~gcseg.models.decode_heads.fcn_head.FCNHead` with a block after the first convolution.

    Args:
        make_block: makes the block from its number of channels; it keeps the shape (N, channels, h, w).
        **kwargs: see :class:`~gcseg.models.decode_heads.fcn_head.FCNHead`; ``num_convs`` is 2.
    """

    block_name: ClassVar[str] = "context_block"

    def __init__(self, make_block: Callable[[int], nn.Module], **kwargs: Any) -> None:
        super().__init__(num_convs=2, **kwargs)
        self.add_module(self.block_name, make_block(self.channels))

    def _forward_convs(self, x: Tensor) -> Tensor:
        first, second = self.convs
        return second(getattr(self, self.block_name)(first(x)))

    def _layer_makers(self) -> dict[str, Any]:
        return layer_makers(self.conv_cfg, self.norm_cfg)


@MODELS.register_module()
class ContextHead(BaseContextHead):
    """A head with any block, see :func:`gcseg.models.context.context_block`.

    Args:
        block: config of the block, such as ``dict(type='GeneralContext', fusion='scale')``; or a function that makes
            it from its number of channels.
        **kwargs: see :class:`~gcseg.models.decode_heads.fcn_head.FCNHead`; ``num_convs`` is 2.
    """

    def __init__(self, block: Mapping[str, Any] | Callable[[int], nn.Module], **kwargs: Any) -> None:
        def make_block(channels: int) -> nn.Module:
            return block(channels) if callable(block) else MODELS.build({**block, "in_channels": channels})

        super().__init__(make_block, **kwargs)
