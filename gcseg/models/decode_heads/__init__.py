"""Heads that turn feature maps into class scores."""

from gcseg.models.decode_heads.context_heads import ContextHead, DNLHead, GCHead, NLHead
from gcseg.models.decode_heads.decode_head import BaseDecodeHead
from gcseg.models.decode_heads.fcn_head import FCNHead

__all__ = ["BaseDecodeHead", "ContextHead", "DNLHead", "FCNHead", "GCHead", "NLHead"]
