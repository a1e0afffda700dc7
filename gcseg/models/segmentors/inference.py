"""Logits of whole images and of sliding windows, as functions without state.

Shape legend: N images, K channels of the logits, H x W size of the network's input, h x w size of a window.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gcseg.ops.bilinear_map import resize_map
from gcseg.utils.errors import ConfigError
from gcseg.utils.names import unknown_name_message

MODES = ("whole", "slide")
_KEYS = ("mode", "crop_size", "stride", "windows_per_batch")
Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class InferenceOptions:
    """How logits are made, as ``test_cfg`` says.

    Attributes:
        mode: ``'whole'`` or ``'slide'``.
        crop_size: size (h, w) of a window in pixels, for ``'slide'``.
        stride: step (down, right) between windows in pixels, for ``'slide'``; at most ``crop_size``.
        windows_per_batch: windows that go through the network at once, for ``'slide'``; None is 4 on a GPU, and 1 on
            a CPU, which one window keeps busy and a batch only costs memory.
    """

    mode: str = "whole"
    crop_size: tuple[int, int] = (0, 0)
    stride: tuple[int, int] = (0, 0)
    windows_per_batch: int | None = None

    @classmethod
    def from_config(cls, test_cfg: Mapping[str, Any] | None) -> InferenceOptions:
        """Read a ``test_cfg`` without changing it; None means whole images.

        Raises:
            ConfigError: unknown mode; sliding without ``crop_size`` or ``stride``; windows that leave gaps.
        """
        test_cfg = test_cfg or {}
        for key in test_cfg:
            if key not in _KEYS:
                warnings.warn(
                    unknown_name_message("key of test_cfg", key, _KEYS, "It has no effect on this segmentor.")
                )
        mode = test_cfg.get("mode", "whole")
        if mode not in MODES:
            raise ConfigError(unknown_name_message("test_cfg.mode", str(mode), MODES))
        if mode == "whole":
            return cls()
        crop_size, stride = (_size(key, test_cfg.get(key)) for key in ("crop_size", "stride"))
        if stride[0] > crop_size[0] or stride[1] > crop_size[1]:
            raise ConfigError(
                f"test_cfg: stride={stride} is larger than crop_size={crop_size}, which leaves pixels that no "
                "window sees; make stride at most crop_size"
            )
        windows = test_cfg.get("windows_per_batch", cls.windows_per_batch)
        if windows is not None and (not isinstance(windows, int) or windows < 1):
            raise ConfigError(f"test_cfg.windows_per_batch={windows!r}: a whole number from 1 on is needed")
        return cls(mode, crop_size, stride, windows)


def _size(key: str, value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        value = (value, value)
    if not isinstance(value, Sequence) or len(value) != 2 or not all(isinstance(v, int) and v > 0 for v in value):
        raise ConfigError(
            f"test_cfg.{key}={value!r}: mode='slide' needs two positive integers (H, W), for example "
            "dict(mode='slide', crop_size=(769, 769), stride=(513, 513))"
        )
    return value[0], value[1]


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """Where windows begin along one side of an image.

    Windows step by ``stride``; the last one is moved back so that it ends at the border. A side shorter than the window
    has one start, 0.

    Args:
        length: pixels along the side.
        window: pixels of a window.
        stride: pixels between windows, at most ``window``.
    """
    if length <= window:
        return [0]
    starts = list(range(0, length - window, stride))
    return [*starts, length - window]


def whole_inference(network: Network, inputs: Tensor) -> Tensor:
    """Logits of whole images.

    Args:
        network: from images (N, C, H, W) to logits (N, K, H, W).
        inputs: images, (N, C, H, W).

    Returns:
        (N, K, H, W).
    """
    return network(inputs)


def slide_inference(
    network: Network,
    inputs: Tensor,
    crop_size: Sequence[int],
    stride: Sequence[int],
    align_corners: bool = False,
    windows_per_batch: int | None = None,
) -> Tensor:
    """Logits of overlapping windows, averaged where they overlap.

    Args:
        network: from windows (k * N, C, h, w), those at one place of all images first, to logits of any resolution,
            which are resized to the windows.
        inputs: images, (N, C, H, W). A side shorter than the window makes the window shorter.
        crop_size: size (h, w) of a window.
        stride: step (down, right) between windows, at most ``crop_size``.
        align_corners: see :func:`gcseg.ops.resize`.
        windows_per_batch: places k that go through the network at once; None is 4 on a GPU and 1 elsewhere. The result
            is the same but for rounding.

    Returns:
        (N, K, H, W), at least float32.
    """
    images, _, height, width = inputs.shape
    h, w = min(crop_size[0], height), min(crop_size[1], width)
    tops, lefts = window_starts(height, h, stride[0]), window_starts(width, w, stride[1])
    places = list(itertools.product(tops, lefts))
    at_once = windows_per_batch or (4 if inputs.is_cuda else 1)
    total: Tensor | None = None
    for start in range(0, len(places), at_once):
        batch = places[start : start + at_once]
        logits = network(torch.cat([inputs[..., top : top + h, left : left + w] for top, left in batch]))
        if total is None:
            # Rows first in memory: a strip of rows is one piece.
            kind = torch.promote_types(logits.dtype, torch.float32)
            total = inputs.new_zeros(images, height, logits.shape[1], width, dtype=kind).transpose(1, 2)
        resizing = resize_map(logits, (h, w), align_corners)
        for (top, left), of_images in zip(batch, logits.split(images), strict=True):
            for image, window in enumerate(of_images):
                area = total[image, :, top : top + h, left : left + w].transpose(0, 1)
                for first, last in resizing.strips():
                    area[first:last] += resizing.apply(window, first, last)
    assert total is not None  # there is at least one window
    rows, columns = total.new_zeros(height, 1), total.new_zeros(1, width)
    for top in tops:
        rows[top : top + h] += 1
    for left in lefts:
        columns[:, left : left + w] += 1
    return total.div_(rows * columns)  # each pixel was seen by as many windows as cover its row, times its column
