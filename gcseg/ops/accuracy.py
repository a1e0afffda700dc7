"""Share of pixels whose label is among the classes with the highest scores."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_EPS = torch.finfo(torch.float32).eps


def accuracy(
    pred: Tensor,
    target: Tensor,
    topk: int | Sequence[int] = 1,
    thresh: float | None = None,
    ignore_index: int | None = None,
) -> Tensor | list[Tensor]:
    """Top-k accuracy in percent, computed without waiting for the device.

    Args:
        pred: scores, (N, C, ...), floating.
        target: class indices, (N, ...), integer.
        topk: a label counts as found when it is among the ``topk`` highest scores; several values may be asked for.
        thresh: scores at or below it do not count as found.
        ignore_index: label of pixels that are left out; None leaves none out.

    Returns:
        Percentage in [0, 100] as a float32 tensor of shape (1,), or a list of them when ``topk`` is a sequence; about
        100 when every pixel is left out, and 0 when the batch is empty.

    Raises:
        ValueError: shapes that do not fit each other, or ``topk`` outside 1..C.
    """
    ks = (topk,) if isinstance(topk, int) else tuple(topk)
    if pred.ndim != target.ndim + 1 or pred.shape[:1] + pred.shape[2:] != target.shape:
        raise ValueError(
            f"accuracy: scores are {tuple(pred.shape)} but labels are {tuple(target.shape)}; labels must have the "
            "shape of the scores without dimension 1"
        )
    if not ks or min(ks) < 1 or max(ks) > pred.shape[1]:
        raise ValueError(f"accuracy: topk={topk} but the scores have {pred.shape[1]} classes; use 1 to {pred.shape[1]}")
    if pred.shape[0] == 0:
        results = [torch.zeros(1, device=pred.device) for _ in ks]
        return results[0] if isinstance(topk, int) else results
    if max(ks) == 1:
        values, labels = pred.max(dim=1, keepdim=True)  # the same as top-1, in a third of the time
    else:
        values, labels = pred.topk(max(ks), dim=1)
    found = labels == target.unsqueeze(1)
    if thresh is not None:
        found &= values > thresh
    results = [_percentage(found[:, :k].any(dim=1), target, ignore_index) for k in ks]
    return results[0] if isinstance(topk, int) else results


def class_accuracy(pred: Tensor, target: Tensor, ignore_index: int | None = None) -> Tensor:
    """:func:`accuracy` of classes that are chosen already.

    Args:
        pred: predicted classes, any shape, integer.
        target: class indices, the shape of ``pred``, integer.
        ignore_index: label of pixels that are left out; None leaves none out.

    Returns:
        See :func:`accuracy`.
    """
    return _percentage(pred == target, target, ignore_index)


def _percentage(found: Tensor, target: Tensor, ignore_index: int | None) -> Tensor:
    # eps keeps an image without labels from dividing by zero; its place and the float32 steps are mmsegmentation's.
    if ignore_index is None:
        scale: float | Tensor = 100.0 / (target.numel() + _EPS)
    else:
        valid = target != ignore_index
        found = found & valid
        scale = (100.0 / (valid.sum().double() + _EPS)).float()
    return (found.sum().float().reshape(1) + _EPS) * scale


class Accuracy(nn.Module):
    """:func:`accuracy` with its options fixed.

    Args:
        topk: see :func:`accuracy`.
        thresh: see :func:`accuracy`.
        ignore_index: see :func:`accuracy`.
    """

    def __init__(
        self, topk: int | Sequence[int] = (1,), thresh: float | None = None, ignore_index: int | None = None
    ) -> None:
        super().__init__()
        self.topk = topk
        self.thresh = thresh
        self.ignore_index = ignore_index

    def forward(self, pred: Tensor, target: Tensor) -> Tensor | list[Tensor]:
        """Accuracy of scores (N, C, ...) against labels (N, ...), see :func:`accuracy`."""
        return accuracy(pred, target, self.topk, self.thresh, self.ignore_index)
