"""From the network's coarse logits back to the photograph: resize, crop the padding, undo the flip, resize, arg-max.

:func:`restore_logits` is the definition; the other functions give its arg-max, or add its softmax to a sum, without
making the (N, C, H, W) tensor: they go over strips of rows, see :mod:`gcseg.ops.bilinear_map`.

Shape legend: N images, C classes, h x w size of the logits, (H, W) size asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .bilinear_map import BilinearMap, axis, working_dtype
from .first_maximum import first_maximum
from .resize import resize

_FLIP_DIMS = {"horizontal": (-1,), "vertical": (-2,), "diagonal": (-2, -1)}


def restore_logits(
    logits: Tensor,
    size: Sequence[int],
    *,
    align_corners: bool = False,
    input_size: Sequence[int] | None = None,
    padding: Sequence[int] = (0, 0, 0, 0),
    flip: str | None = None,
) -> Tensor:
    """Bring logits to the size and orientation of the original image.

    Both resizes are bilinear: first to the size of the network's input, where padding and flip are undone, then to
    ``size``. The order is part of the published results: one resize instead of two gives other numbers.

    Args:
        logits: (N, C, h, w), floating.
        size: size (H, W) of the result.
        align_corners: see :func:`gcseg.ops.resize`.
        input_size: size (H, W) of the network's input; None when the logits already have it.
        padding: pixels (left, right, top, bottom) that were added to the input.
        flip: how the input was flipped: None, 'horizontal', 'vertical' or 'diagonal' (both).

    Returns:
        (N, C, H, W), dtype of ``logits``; may share memory with ``logits``.

    Raises:
        ValueError: unknown ``flip``, or padding that leaves nothing.
    """
    left, right, top, bottom = _checked_padding(logits.shape[-2:] if input_size is None else input_size, padding, flip)
    if input_size is not None:
        logits = resize(logits, size=input_size, mode="bilinear", align_corners=align_corners)
    height, width = logits.shape[-2:]
    logits = logits[..., top : height - bottom, left : width - right]
    if flip is not None:
        logits = logits.flip(_FLIP_DIMS[flip])
    return resize(logits, size=size, mode="bilinear", align_corners=align_corners)


def upsample_argmax(
    logits: Tensor,
    size: Sequence[int],
    *,
    align_corners: bool = False,
    input_size: Sequence[int] | None = None,
    padding: Sequence[int] = (0, 0, 0, 0),
    flip: str | None = None,
    threshold: float | None = None,
    dtype: torch.dtype = torch.int64,
) -> Tensor:
    """Class of every pixel of the original image; arg-max of :func:`restore_logits`.

    Args:
        logits: (N, C, h, w), floating; computed in float32 (float64 for float64), under autocast too.
        size: size (H, W) of the result.
        align_corners: see :func:`gcseg.ops.resize`.
        input_size: see :func:`restore_logits`.
        padding: see :func:`restore_logits`.
        flip: see :func:`restore_logits`.
        threshold: for one channel (C = 1): class 1 where the sigmoid of the logit is above it. Ignored for C > 1.
        dtype: integer type of the result.

    Returns:
        (N, H, W) of ``dtype``, in [0, C), or {0, 1} for C = 1; the first of several classes with the same score.

    Raises:
        ValueError: one channel without a threshold; and see :func:`restore_logits`.
    """
    if logits.shape[1] == 1 and threshold is None:
        raise ValueError("upsample_argmax: logits have one channel and threshold=None; give a threshold in [0, 1]")
    restoring = _restore_map(logits, size, align_corners, input_size, padding, flip)
    result = torch.empty(logits.shape[0], *(int(s) for s in size), dtype=dtype, device=logits.device)
    with torch.no_grad(), torch.autocast(logits.device.type, enabled=False):
        for image, image_logits in enumerate(logits):
            for start, stop in restoring.strips():
                scores = restoring.apply(image_logits, start, stop)
                if threshold is not None and logits.shape[1] == 1:
                    result[image, start:stop] = (scores.sigmoid_() > threshold).squeeze(1)
                else:
                    result[image, start:stop] = first_maximum(scores)[1]
    return result


@torch.no_grad()
def add_probabilities(
    total: Tensor,
    logits: Tensor,
    *,
    align_corners: bool = False,
    input_size: Sequence[int] | None = None,
    padding: Sequence[int] = (0, 0, 0, 0),
    flip: str | None = None,
) -> None:
    """Add the class probabilities of an image to a sum: the softmax of :func:`restore_logits`, for C = 1 the sigmoid.

    Args:
        total: (C, H, W), float32 or float64; changed in place. One whose rows come first in memory, such as
            ``torch.zeros(H, C, W).transpose(0, 1)``, is the fastest.
        logits: (C, h, w), floating.
        align_corners: see :func:`gcseg.ops.resize`.
        input_size: see :func:`restore_logits`.
        padding: see :func:`restore_logits`.
        flip: see :func:`restore_logits`.

    Raises:
        ValueError: another number of channels; and see :func:`restore_logits`.
    """
    if total.shape[0] != logits.shape[0]:
        raise ValueError(
            f"add_probabilities: the sum has {total.shape[0]} channels and the logits {logits.shape[0]}; sum over "
            "views of one model"
        )
    restoring = _restore_map(logits[None], total.shape[1:], align_corners, input_size, padding, flip)
    rows = total.transpose(0, 1)
    with torch.autocast(logits.device.type, enabled=False):
        for start, stop in restoring.strips():
            scores = restoring.apply(logits, start, stop)
            rows[start:stop] += scores.sigmoid_() if scores.shape[1] == 1 else scores.softmax(dim=1)


@dataclass(frozen=True)
class CoarseLogits:
    """Logits of one image as the network made them, and the way back to the photograph.

    Attributes:
        logits: (C, h, w), floating.
        size: size (H, W) of the photograph.
        align_corners: see :func:`gcseg.ops.resize`.
        input_size: see :func:`restore_logits`.
        padding: see :func:`restore_logits`.
        flip: see :func:`restore_logits`.
    """

    logits: Tensor
    size: tuple[int, int]
    align_corners: bool = False
    input_size: Sequence[int] | None = None
    padding: Sequence[int] = (0, 0, 0, 0)
    flip: str | None = None

    def restore(self) -> Tensor:
        """Logits at the size of the photograph, (C, H, W), at least float32."""
        logits = self.logits.float() if self.logits.dtype in (torch.float16, torch.bfloat16) else self.logits
        return restore_logits(logits[None], self.size, **self._way)[0]

    def argmax(self, threshold: float | None = None) -> Tensor:
        """Classes, (H, W) int64; see :func:`upsample_argmax` for ``threshold``."""
        return upsample_argmax(self.logits[None], self.size, threshold=threshold, **self._way)[0]

    def add_probabilities(self, total: Tensor) -> None:
        """Add the class probabilities to a sum (C, H, W), see :func:`add_probabilities`."""
        add_probabilities(total, self.logits, **self._way)

    @property
    def _way(self) -> dict[str, Any]:
        return dict(align_corners=self.align_corners, input_size=self.input_size, padding=self.padding, flip=self.flip)


def _restore_map(
    logits: Tensor,
    size: Sequence[int],
    align_corners: bool,
    input_size: Sequence[int] | None,
    padding: Sequence[int],
    flip: str | None,
) -> BilinearMap:
    """:func:`restore_logits` as a linear map, for logits (N, C, h, w)."""
    source, dtype = logits.shape[-2:], working_dtype(logits)
    left, right, top, bottom = _checked_padding(source if input_size is None else input_size, padding, flip)
    flipped = _FLIP_DIMS[flip] if flip is not None else ()
    rows, columns = (
        axis(
            int(source[dim]),
            int(size[dim]),
            bool(align_corners),
            dtype,
            logits.device,
            None if input_size is None else int(input_size[dim]),
            around,
            dim in flipped,
        )
        for dim, around in ((-2, (top, bottom)), (-1, (left, right)))
    )
    return BilinearMap(rows, columns, dtype, logits.device, logits.shape[1])


def _checked_padding(input_size: Sequence[int], padding: Sequence[int], flip: str | None) -> tuple[int, int, int, int]:
    """Padding (left, right, top, bottom) that leaves something of ``input_size`` (H, W), and a flip that exists."""
    if flip is not None and flip not in _FLIP_DIMS:
        raise ValueError(f"restore_logits: flip={flip!r}; allowed are None, {', '.join(map(repr, _FLIP_DIMS))}")
    height, width = input_size
    left, right, top, bottom = (int(p) for p in padding)
    if min(left, right, top, bottom) < 0 or left + right >= width or top + bottom >= height:
        raise ValueError(
            f"restore_logits: padding {(left, right, top, bottom)} (left, right, top, bottom) of an input of "
            f"{(int(height), int(width))} (H, W) leaves no image; check padding_size in the image's meta information"
        )
    return left, right, top, bottom
