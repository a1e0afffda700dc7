"""Resize feature maps and logits."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def resize(
    input: Tensor,
    size: Sequence[int] | int | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    warning: bool = False,
) -> Tensor:
    """Resize a batch of maps; the input itself comes back when it already has the wanted size.

    Args:
        input: maps, (N, C, H, W), any dtype that ``torch.nn.functional.interpolate`` takes.
        size: wanted size (H, W), or one number for both.
        scale_factor: factor on (H, W); give this or ``size``.
        mode: ``interpolate``'s mode: ``'nearest'``, ``'bilinear'``, ``'bicubic'``, ``'area'`` ...
        align_corners: whether the centres of the corner pixels (True) or the borders of the image (False) stay in
            place. For the modes ``'bilinear'`` and ``'bicubic'`` only.
        warning: warn when ``align_corners`` is set and the sizes are not ``x + 1`` and ``n * x + 1``, so that inner
            samples do not fall on input samples.

    Returns:
        (N, C, size[0], size[1]), dtype of ``input``. No copy is made when the size is already right: do not write
        into the result unless ``input`` may change too.

    Raises:
        ValueError: none or both of ``size`` and ``scale_factor``, or a size below one pixel.
    """
    if (size is None) == (scale_factor is None):
        raise ValueError(
            f"resize: received size={size} and scale_factor={scale_factor}; exactly one is needed, drop the other"
        )
    if size is None:
        return F.interpolate(input, scale_factor=scale_factor, mode=mode, align_corners=align_corners)
    sizes = (size, size) if isinstance(size, int) else tuple(size)
    if any(isinstance(s, torch.SymInt | Tensor) for s in sizes):  # of a network that is being exported: any size
        return F.interpolate(input, size=sizes, mode=mode, align_corners=align_corners)
    height, width = (int(s) for s in sizes)
    if height < 1 or width < 1:
        raise ValueError(f"resize: received size {(height, width)} (H, W); both must be at least 1 pixel")
    source = (int(input.shape[-2]), int(input.shape[-1]))
    if warning and align_corners and not all(_corners_fit(a, b) for a, b in zip(source, (height, width), strict=True)):
        warnings.warn(
            f"resize with align_corners=True from {source} to {(height, width)} (H, W): samples of the input fall "
            "between samples of the output; sizes x + 1 and n * x + 1 would line up",
            stacklevel=2,
        )
    if source == (height, width):
        return input
    return F.interpolate(input, size=(height, width), mode=mode, align_corners=align_corners)


def _corners_fit(source: int, target: int) -> bool:
    """Whether every input sample meets an output sample when both corners are aligned."""
    return source <= 1 or target <= source or (target - 1) % (source - 1) == 0
