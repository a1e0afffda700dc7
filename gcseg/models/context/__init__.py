"""Blocks that give every position knowledge of the whole image; they need nothing but torch.

Context modelling (:mod:`~gcseg.models.context.pooling`, :mod:`~gcseg.models.context.pairwise`), transform
(:mod:`~gcseg.models.context.transform`) and fusion are the three steps of Cao et al. 2019 (arXiv 1904.11492, sec. 3),
which :mod:`~gcseg.models.context.framework` puts together. :func:`context_block` makes any combination; the published
ones have names.
"""

from gcseg.models.context.blocks import context_block
from gcseg.models.context.disentangled import DisentangledNonLocal2d
from gcseg.models.context.framework import BaseContext
from gcseg.models.context.non_local import NonLocal, PairwiseContext
from gcseg.models.context.pooled import SE, GlobalContext, PooledContext, SimplifiedNonLocal
from gcseg.models.context.pooling import attention_pool, average_pool

__all__ = [
    "SE",
    "BaseContext",
    "DisentangledNonLocal2d",
    "GlobalContext",
    "NonLocal",
    "PairwiseContext",
    "PooledContext",
    "SimplifiedNonLocal",
    "attention_pool",
    "average_pool",
    "context_block",
]
