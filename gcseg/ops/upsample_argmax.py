"""From the network's coarse logits back to the photograph: resize, crop the padding, undo the flip, resize, arg-max.

Shape legend: N images, C classes, h x w size of the logits, (H, W) size asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

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
    if flip is not None and flip not in _FLIP_DIMS:
        raise ValueError(f"restore_logits: flip={flip!r}; allowed are None, {', '.join(map(repr, _FLIP_DIMS))}")
    if input_size is not None:
        logits = resize(logits, size=input_size, mode="bilinear", align_corners=align_corners)
    height, width = logits.shape[-2:]
    left, right, top, bottom = (int(p) for p in padding)
    if min(left, right, top, bottom) < 0 or left + right >= width or top + bottom >= height:
        raise ValueError(
            f"restore_logits: padding {(left, right, top, bottom)} (left, right, top, bottom) of an input of "
            f"{(height, width)} (H, W) leaves no image; check padding_size in the image's meta information"
        )
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

    This is the definition in plain PyTorch: it makes the (N, C, H, W) tensor for the duration of the call.

    Args:
        logits: (N, C, h, w), floating.
        size: size (H, W) of the result.
        align_corners: see :func:`gcseg.ops.resize`.
        input_size: see :func:`restore_logits`.
        padding: see :func:`restore_logits`.
        flip: see :func:`restore_logits`.
        threshold: for one channel (C = 1): class 1 where the sigmoid of the logit is above it. Ignored for C > 1.
        dtype: integer type of the result.

    Returns:
        (N, H, W) of ``dtype``, in [0, C), or {0, 1} for C = 1.

    Raises:
        ValueError: one channel without a threshold; and see :func:`restore_logits`.
    """
    if logits.shape[1] == 1 and threshold is None:
        raise ValueError("upsample_argmax: logits have one channel and threshold=None; give a threshold in [0, 1]")
    full = restore_logits(logits, size, align_corners=align_corners, input_size=input_size, padding=padding, flip=flip)
    if logits.shape[1] == 1:
        return (full.sigmoid() > threshold).squeeze(1).to(dtype)
    return full.argmax(dim=1).to(dtype)
