"""The head of the non-local network."""

from __future__ import annotations

from typing import Any

from gcseg.models.context import NonLocal
from gcseg.models.decode_heads.context_head import BaseContextHead
from gcseg.registry import MODELS


@MODELS.register_module()
class NLHead(BaseContextHead):
    """A head with a non-local block (Wang et al. 2018, arXiv 1711.07971).

    Args:
        reduction: the block has ``channels // reduction`` channels inside.
        use_scale: divide the scores by the square root of that number.
        mode: see :class:`~gcseg.models.context.NonLocal`.
        **kwargs: see :class:`~gcseg.models.decode_heads.fcn_head.FCNHead`.
    """

    block_name = "nl_block"

    def __init__(
        self, reduction: int = 2, use_scale: bool = True, mode: str = "embedded_gaussian", **kwargs: Any
    ) -> None:
        super().__init__(
            lambda channels: NonLocal(channels, reduction, use_scale, mode, **self._layer_makers()), **kwargs
        )
        self.reduction = reduction
        self.use_scale = use_scale
        self.mode = mode
