"""Context modelling with one result per position: how much each position (query) attends to each other one (key).

Wang et al. 2018 (arXiv 1711.07971, section 3.2). Shape legend: N batch, L queries, S keys, D channels.
"""

from __future__ import annotations

from torch import Tensor

from gcseg.models.context.pooling import wide_softmax

MODES = ("gaussian", "embedded_gaussian", "dot_product", "concatenation")


def softmax_affinity(query: Tensor, key: Tensor, divisor: float = 1.0) -> Tensor:
    """``softmax_j(q_i . k_j / divisor)`` (eq. 2 and 3): each row sums to one.

    Args:
        query: (N, L, D).
        key: (N, D, S).
        divisor: temperature of the softmax, such as the square root of D.

    Returns:
        (N, L, S), in [0, 1].
    """
    if divisor != 1.0:
        query = query / divisor
    return wide_softmax(query @ key)


def dot_product_affinity(query: Tensor, key: Tensor) -> Tensor:
    """``q_i . k_j / S`` (eq. 4), unbounded.

    Args:
        query: (N, L, D).
        key: (N, D, S).

    Returns:
        (N, L, S).
    """
    return query @ key / key.shape[-1]


def concatenation_affinity(query: Tensor, key: Tensor, weight: Tensor) -> Tensor:
    """``ReLU(w . [q_i, k_j]) / S`` (eq. 5), not negative.

    The product with the concatenation is the sum of two products, so that no (2 D, L, S) tensor is made.

    Args:
        query: (N, L, D).
        key: (N, D, S).
        weight: w, 2 D numbers in any shape, those for the query first.

    Returns:
        (N, L, S).
    """
    for_query, for_key = weight.flatten().chunk(2)
    scores = query @ for_query.unsqueeze(-1) + for_key.unsqueeze(0) @ key  # N L 1 + N 1 S
    return scores.relu() / key.shape[-1]
