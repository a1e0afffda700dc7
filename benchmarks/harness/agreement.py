"""Whether two contestants did the same work."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def difference(ours: np.ndarray, reference: np.ndarray) -> float:
    """How far two arrays are apart.

    Returns:
        For floating arrays the norm of the difference over the norm of the reference; for others the share of entries
        that differ. Infinite when shapes differ or one is not finite where the other is.
    """
    if ours.shape != reference.shape:
        return math.inf
    if ours.size == 0:
        return 0.0
    if not np.issubdtype(reference.dtype, np.floating):
        return float(np.mean(ours != reference))
    finite = np.isfinite(reference)
    if not np.array_equal(finite, np.isfinite(ours)) or not finite.any():
        return math.inf
    a, b = ours[finite].astype(np.float64), reference[finite].astype(np.float64)
    scale = np.linalg.norm(b)
    return float(np.linalg.norm(a - b) / (scale if scale > 0 else 1.0))


def disagreements(reference: Path, ours: Path, tolerance: Mapping[str, float], name: str) -> dict[str, Any]:
    """Compare two saved answers.

    Args:
        reference: .npz of the contestant that is compared with.
        ours: .npz of the other.
        tolerance: by name of an array, the largest difference that still counts as the same.
        name: of the contestant that is compared with.

    Returns:
        ``with``, ``differences`` by name (None where no number says it), ``tolerance``, and ``same``, whether all are
        within it.
    """
    with np.load(reference) as theirs, np.load(ours) as mine:
        missing = [key for key in tolerance if key not in theirs or key not in mine]
        found = {key: difference(mine[key], theirs[key]) for key in tolerance if key not in missing}
    found.update(dict.fromkeys(missing, math.inf))
    same = all(found[key] <= bound for key, bound in tolerance.items())
    shown = {key: value if math.isfinite(value) else None for key, value in found.items()}  # JSON has no infinity
    return {"with": name, "differences": shown, "tolerance": dict(tolerance), "same": same}
