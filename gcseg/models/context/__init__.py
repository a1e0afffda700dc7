"""Blocks that give every position knowledge of the whole image; they need nothing but torch.

Context modelling (:mod:`~gcseg.models.context.pooling`, :mod:`~gcseg.models.context.pairwise`), transform
(:mod:`~gcseg.models.context.transform`) and fusion are the three steps of Cao et al. 2019 (arXiv 1904.11492, sec. 3);
:class:`GlobalContext`, :class:`NonLocal2d` and :class:`DisentangledNonLocal2d` put them together.
"""

from gcseg.models.context.disentangled import DisentangledNonLocal2d
from gcseg.models.context.global_context import GlobalContext
from gcseg.models.context.non_local import NonLocal2d
from gcseg.models.context.pooling import attention_pool, average_pool

__all__ = ["DisentangledNonLocal2d", "GlobalContext", "NonLocal2d", "attention_pool", "average_pool"]
