"""The head of the disentangled non-local network."""

from __future__ import annotations

from typing import Any

from torch import nn

from gcseg.models.context import DisentangledNonLocal2d
from gcseg.models.decode_heads.context_head import BaseContextHead
from gcseg.registry import MODELS


@MODELS.register_module()
class DNLHead(BaseContextHead):
    """A head with a disentangled non-local block (Yin et al. 2020, arXiv 2006.06668).

    Args:
        reduction: the block has ``channels // reduction`` channels inside.
        use_scale: divide the scores by the square root of that number.
        mode: see :class:`~gcseg.models.context.NonLocal`.
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
