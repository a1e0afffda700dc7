"""Heads with a context block between their two convolutions.

They differ in the block alone: a head says how it is called in the state dict and passes it to :class:`ContextHead`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from gcseg.models.context import DisentangledNonLocal2d, GlobalContext, NonLocal2d
from gcseg.models.decode_heads.fcn_head import FCNHead
from gcseg.models.plugins import layer_makers
from gcseg.registry import MODELS


class ContextHead(FCNHead):
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
class GCHead(ContextHead):
    """GCNet's head: a global context block (Cao et al. 2019, arXiv 1904.11492).

    Args:
        ratio: channels inside the block, as a share of ``channels``.
        pooling_type: ``"att"`` or ``"avg"``.
        fusion_types: any of ``"channel_add"`` and ``"channel_mul"``.
        **kwargs: see :class:`~gcseg.models.decode_heads.fcn_head.FCNHead`.
    """

    block_name = "gc_block"

    def __init__(
        self,
        ratio: float = 1 / 4,
        pooling_type: str = "att",
        fusion_types: Sequence[str] = ("channel_add",),
        **kwargs: Any,
    ) -> None:
        super().__init__(lambda channels: GlobalContext(channels, ratio, pooling_type, fusion_types), **kwargs)
        self.ratio = ratio
        self.pooling_type = pooling_type
        self.fusion_types = tuple(fusion_types)


@MODELS.register_module()
class NLHead(ContextHead):
    """A head with a non-local block (Wang et al. 2018, arXiv 1711.07971).

    Args:
        reduction: the block has ``channels // reduction`` channels inside.
        use_scale: divide the scores by the square root of that number.
        mode: see :class:`~gcseg.models.context.NonLocal2d`.
        **kwargs: see :class:`~gcseg.models.decode_heads.fcn_head.FCNHead`.
    """

    block_name = "nl_block"

    def __init__(
        self, reduction: int = 2, use_scale: bool = True, mode: str = "embedded_gaussian", **kwargs: Any
    ) -> None:
        super().__init__(
            lambda channels: NonLocal2d(channels, reduction, use_scale, mode, **self._layer_makers()), **kwargs
        )
        self.reduction = reduction
        self.use_scale = use_scale
        self.mode = mode


@MODELS.register_module()
class DNLHead(ContextHead):
    """A head with a disentangled non-local block (Yin et al. 2020, arXiv 2006.06668).

    Args:
        reduction: the block has ``channels // reduction`` channels inside.
        use_scale: divide the scores by the square root of that number.
        mode: see :class:`~gcseg.models.context.NonLocal2d`.
        temperature: divides the scores of ``mode="embedded_gaussian"``.
        **kwargs: see :class:`~gcseg.models.decode_heads.fcn_head.FCNHead`.
    """

    block_name = "dnl_block"

    def __init__(
        self,
        reduction: int = 2,
        use_scale: bool = True,
        mode: str = "embedded_gaussian",
        temperature: float = 0.05,
        **kwargs: Any,
    ) -> None:
        def make_block(channels: int) -> nn.Module:
            return DisentangledNonLocal2d(
                channels, reduction, use_scale, mode, temperature=temperature, **self._layer_makers()
            )

        super().__init__(make_block, **kwargs)
        self.reduction = reduction
        self.use_scale = use_scale
        self.mode = mode
        self.temperature = temperature
