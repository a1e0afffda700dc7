"""The head with a simplified non-local block."""

from __future__ import annotations

from typing import Any

from gcseg.models.context import SimplifiedNonLocal
from gcseg.models.decode_heads.context_head import BaseContextHead
from gcseg.registry import MODELS


@MODELS.register_module()
class SNLHead(BaseContextHead):
    """A head with a simplified non-local block (Cao et al. 2019, arXiv 1904.11492, eq. 2).

    Args:
        **kwargs: see :class:`~gcseg.models.decode_heads.fcn_head.FCNHead`.
    """

    block_name = "snl_block"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(SimplifiedNonLocal, **kwargs)
