"""The head with a squeeze-and-excitation block."""

from __future__ import annotations

from typing import Any

from gcseg.models.context import SE
from gcseg.models.decode_heads.context_head import BaseContextHead
from gcseg.registry import MODELS


@MODELS.register_module()
class SEHead(BaseContextHead):
    """A head with a squeeze-and-excitation block (Hu et al. 2018, arXiv 1709.01507).

    Args:
        ratio: channels inside the block, as a share of ``channels``.
        **kwargs: see :class:`~gcseg.models.decode_heads.fcn_head.FCNHead`.
    """

    block_name = "se_block"

    def __init__(self, ratio: float = 1 / 16, **kwargs: Any) -> None:
        super().__init__(lambda channels: SE(channels, ratio), **kwargs)
        self.ratio = ratio
