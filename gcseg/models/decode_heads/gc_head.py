"""The head of GCNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gcseg.models.context import GlobalContext
from gcseg.models.decode_heads.context_head import BaseContextHead
from gcseg.registry import MODELS


@MODELS.register_module()
class GCHead(BaseContextHead):
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
