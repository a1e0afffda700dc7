"""How far the probabilities of predictions can be believed."""

from __future__ import annotations

import torch
from torch import Tensor

#: As many as Guo et al. use.
BINS = 15
_ROWS = 128


@torch.no_grad()
def reliability(logits: Tensor, pred: Tensor, label: Tensor, ignore_index: int = 255, bins: int = BINS) -> Tensor:
    """What a reliability diagram of one image is made of (Guo et al. 2017, arXiv 1706.04599).

    The confidence of a pixel is the probability of its predicted class. Bin m of M holds the pixels whose confidence is
    in ((m - 1) / M, m / M].

    Args:
        logits: (C, H, W) floating; for C = 1 the probability of class 1.
        pred: (H, W) integer, predicted classes.
        label: (H, W) integer, true classes, or ``ignore_index``.
        ignore_index: label of pixels that are not counted.
        bins: M.

    Returns:
        (3, M) float64 on the CPU: number of pixels, sum of their confidences, number of right ones. Pixels whose
        confidence is not finite are left out.
    """
    total = torch.zeros(3, bins, dtype=torch.float64, device=logits.device)
    for first in range(0, label.shape[0], _ROWS):  # float32 copies of whole images would need as much memory again
        scores, classes, truth = (
            logits[:, first : first + _ROWS].float(),
            *(part[first : first + _ROWS].to(logits.device, torch.int64) for part in (pred, label)),
        )
        if len(scores) == 1:
            confidence = torch.where(classes == 1, scores[0], 1 - scores[0])
        else:
            chosen = classes.clamp(0, len(scores) - 1)
            confidence = (scores.gather(0, chosen[None])[0] - scores.logsumexp(0)).exp()
        counted = (truth != ignore_index) & confidence.isfinite()
        confidence, right = confidence[counted].double(), (classes == truth)[counted].double()
        place = (confidence * bins).ceil().long().clamp(1, bins) - 1
        for row, weights in zip(total, (torch.ones_like(right), confidence, right), strict=True):
            row.index_add_(0, place, weights)
    return total.cpu()
