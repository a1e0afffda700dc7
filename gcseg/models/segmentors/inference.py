"""Logits of whole images and of sliding windows, as functions without state.

Shape legend: N images, K channels of the logits, H x W size of the network's input, h x w size of a window.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gcseg.utils.errors import ConfigError
from gcseg.utils.names import unknown_name_message

MODES = ("whole", "slide")
_KEYS = ("mode", "crop_size", "stride")
Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class InferenceOptions:
    """How logits are made, as ``test_cfg`` says.

    Attributes:
        mode: ``'whole'`` or ``'slide'``.
        crop_size: size (h, w) of a window in pixels, for ``'slide'``.
        stride: step (down, right) between windows in pixels, for ``'slide'``; at most ``crop_size``.
    """

    mode: str = "whole"
    crop_size: tuple[int, int] = (0, 0)
    stride: tuple[int, int] = (0, 0)

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
        return cls(mode, crop_size, stride)


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


def slide_inference(network: Network, inputs: Tensor, crop_size: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Logits of overlapping windows, averaged where they overlap.

    Args:
        network: from windows (N, C, h, w) to logits of the same size, (N, K, h, w).
        inputs: images, (N, C, H, W). A side shorter than the window makes the window shorter.
        crop_size: size (h, w) of a window.
        stride: step (down, right) between windows, at most ``crop_size``.

    Returns:
        (N, K, H, W), dtype of ``inputs``.
    """
    height, width = inputs.shape[-2:]
    h, w = min(crop_size[0], height), min(crop_size[1], width)
    tops, lefts = window_starts(height, h, stride[0]), window_starts(width, w, stride[1])
    if len(tops) == len(lefts) == 1:
        return network(inputs)
    total: Tensor | None = None
    rows, columns = inputs.new_zeros(height, 1), inputs.new_zeros(1, width)
    for top in tops:
        rows[top : top + h] += 1
    for left in lefts:
        columns[:, left : left + w] += 1
    for top in tops:
        for left in lefts:
            logits = network(inputs[..., top : top + h, left : left + w])
            if total is None:
                total = inputs.new_zeros(logits.shape[0], logits.shape[1], height, width)
            total[..., top : top + h, left : left + w] += logits
    assert total is not None  # there is at least one window
    return total.div_(rows * columns)  # each pixel was seen by as many windows as cover its row, times its column
