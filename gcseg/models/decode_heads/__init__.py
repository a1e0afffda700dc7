"""Heads that turn feature maps into class scores."""

from gcseg.models.decode_heads.context_head import ContextHead
from gcseg.models.decode_heads.decode_head import BaseDecodeHead
from gcseg.models.decode_heads.dnl_head import DNLHead
from gcseg.models.decode_heads.fcn_head import FCNHead
from gcseg.models.decode_heads.gc_head import GCHead
from gcseg.models.decode_heads.nl_head import NLHead
from gcseg.models.decode_heads.se_head import SEHead
from gcseg.models.decode_heads.snl_head import SNLHead

__all__ = ["BaseDecodeHead", "ContextHead", "DNLHead", "FCNHead", "GCHead", "NLHead", "SEHead", "SNLHead"]
