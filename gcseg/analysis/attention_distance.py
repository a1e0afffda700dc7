"""How much attention maps, or features, differ from position to position (Cao et al. 2019, arXiv 1904.11492, sec. 3.2).

The paper's average distance of N vectors is the mean of d(v_i, v_j) over all N * N ordered pairs, those of a vector
with itself (distance 0) among them. Shape legend: L positions, D channels, S positions attended to.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_ROWS = 1024


def cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    """``(1 - cos(a, b)) / 2``: 0 for one direction, 1/2 for orthogonal vectors, 1 for opposite ones.

    Args:
        a: (..., D).
        b: (..., D).

    Returns:
        (...), float64 in [0, 1]; nan where a vector is zero.
    """
    return ((1 - (_units(a) * _units(b)).sum(-1)) / 2).clamp(0, 1)


def jensen_shannon(p: Tensor, q: Tensor) -> Tensor:
    """Jensen-Shannon divergence of distributions, ``H((p + q) / 2) - H(p) / 2 - H(q) / 2``, in nats.

    Args:
        p: (..., S), not negative, with sum one.
        q: (..., S), likewise.

    Returns:
        (...), float64 from 0, for equal ones, to ln 2, for those that have no position in common.
    """
    p, q = p.double(), q.double()
    return (_entropy((p + q) / 2) - _entropy(p) / 2 - _entropy(q) / 2).clamp(0, math.log(2))


def mean_cosine_distance(vectors: Tensor) -> float:
    """The average of :func:`cosine_distance` over all ordered pairs, exact and in one reading of the vectors.

    With u the unit vectors, the sum of u_i . u_j over all pairs is the square of the length of the sum of the u.

    Args:
        vectors: (L, D), floating.

    Returns:
        In [0, 1]; nan if a vector is zero, which has no direction.
    """
    total = sum(_units(rows).sum(0) for rows in vectors.split(_ROWS))  # D
    mean = torch.as_tensor(total) / len(vectors)
    return float(((1 - mean @ mean) / 2).clamp(0, 1))


def mean_jensen_shannon(maps: Tensor, pairs: int = 20000, seed: int = 0) -> tuple[float, float]:
    """The average of :func:`jensen_shannon` over all ordered pairs of attention maps.

    Where there are more pairs than ``pairs``, that many are drawn at random, independently and with replacement.

    Args:
        maps: (L, S), each row a distribution.
        pairs: how many pairs to look at, at least two.
        seed: of the draw.

    Returns:
        The average, and the standard error that the draw gives it: 0 where all pairs were looked at. Both are nan if a
        row is no distribution (the modes ``dot_product`` and ``concatenation``).
    """
    maps = maps.detach()
    if not is_distribution(maps):
        return math.nan, math.nan
    count = len(maps)
    if count * count <= pairs:
        total = sum(float(jensen_shannon(maps[i], maps[i + 1 :]).sum()) for i in range(count))
        return 2 * total / count**2, 0.0
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(count, (2, pairs), generator=generator).to(maps.device)
    chunk = max(1, 2**22 // maps.shape[1])
    found = torch.cat([jensen_shannon(maps[i], maps[j]) for i, j in zip(*(d.split(chunk) for d in drawn), strict=True)])
    return float(found.mean()), float(found.std()) / math.sqrt(pairs)


def _units(vectors: Tensor) -> Tensor:
    vectors = vectors.detach().double()
    return vectors / vectors.norm(dim=-1, keepdim=True)


def _entropy(p: Tensor) -> Tensor:
    return torch.special.entr(p).sum(-1)


def is_distribution(maps: Tensor) -> bool:
    """Whether the rows of (..., S) are not negative and have the sum one, but for rounding."""
    sums = maps.sum(-1, dtype=torch.float64)
    return bool((maps >= 0).all() and ((sums - 1).abs() < 1e-2).all())
