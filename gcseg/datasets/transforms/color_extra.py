"""More transforms of the image's values: range, contrast, grey, gamma."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from gcseg.registry import TRANSFORMS
from gcseg.utils.errors import ConfigError, DataError


@TRANSFORMS.register_module()
class Rerange(BaseTransform):
    """Stretches the values of ``img`` so that they run from ``min_value`` to ``max_value``; the image becomes float64.

    Args:
        min_value: what the smallest value becomes.
        max_value: what the largest value becomes.

    Raises:
        DataError: all values of an image are equal.
    """

    def __init__(self, min_value: float = 0, max_value: float = 255) -> None:
        if not min_value < max_value:
            raise ConfigError(f"Rerange: min_value={min_value}, max_value={max_value}; the first must be the smaller")
        self.min_value, self.max_value = min_value, max_value

    def transform(self, results: dict) -> dict:
        """Stretch ``results['img']``."""
        img = results["img"]
        low, high = np.min(img), np.max(img)
        if not low < high:
            raise DataError(
                f"Rerange: all values of {results.get('img_path', 'the image')} are {low}, there is no range to "
                "stretch; leave that image or this transform out"
            )
        unit = (img - low) / (high - low)
        results["img"] = unit * (self.max_value - self.min_value) + self.min_value
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(min_value={self.min_value}, max_value={self.max_value})"


@TRANSFORMS.register_module()
class CLAHE(BaseTransform):
    """Equalises the histogram of every channel of ``img`` within tiles, with limited contrast (Zuiderveld 1994).

    Args:
        clip_limit: most pixels of one value in a tile, as a multiple of the mean over all values.
        tile_grid_size: number of tiles (along the width, along the height).
    """

    def __init__(self, clip_limit: float = 40.0, tile_grid_size: Sequence[int] = (8, 8)) -> None:
        tiles = tuple(tile_grid_size)
        if len(tiles) != 2 or not all(isinstance(n, int) and n > 0 for n in tiles):
            raise ConfigError(f"CLAHE: tile_grid_size={tile_grid_size}; give two positive numbers of tiles")
        if isinstance(clip_limit, bool) or not isinstance(clip_limit, int | float):
            raise ConfigError(f"CLAHE: clip_limit={clip_limit!r}; give a number")
        self.clip_limit, self.tile_grid_size = clip_limit, tiles

    def transform(self, results: dict) -> dict:
        """Equalise ``results['img']``, (H, W, C); values are taken as whole numbers from 0 to 255."""
        equalise = cv2.createCLAHE(self.clip_limit, self.tile_grid_size).apply
        img = results["img"]
        channels = [equalise(np.ascontiguousarray(img[..., c], dtype=np.uint8)) for c in range(img.shape[2])]
        results["img"] = np.stack(channels, axis=-1).astype(img.dtype, copy=False)
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(clip_limit={self.clip_limit}, tile_grid_size={self.tile_grid_size})"


@TRANSFORMS.register_module()
class RGB2Gray(BaseTransform):
    """Replaces every pixel of ``img`` by the weighted sum of its channels; the image becomes float64.

    Args:
        out_channels: number of equal channels of the result; None keeps the number.
        weights: one per channel, in the order in which the image has them (BGR as loaded).
    """

    def __init__(self, out_channels: int | None = None, weights: Sequence[float] = (0.299, 0.587, 0.114)) -> None:
        if out_channels is not None and out_channels < 1:
            raise ConfigError(f"RGB2Gray: out_channels={out_channels}; give a positive number, or None")
        if isinstance(weights, int | float) or not all(isinstance(w, int | float) for w in weights):
            raise ConfigError(f"RGB2Gray: weights={weights!r}; give one number per channel")
        self.out_channels, self.weights = out_channels, tuple(weights)

    def transform(self, results: dict) -> dict:
        """Turn ``results['img']``, (H, W, C), grey."""
        img = results["img"]
        if img.ndim != 3 or img.shape[2] != len(self.weights):
            raise DataError(
                f"RGB2Gray: {results.get('img_path', 'the image')} has shape {img.shape} but there are "
                f"{len(self.weights)} weights; give one weight per channel"
            )
        grey = (img * np.asarray(self.weights)).sum(2, keepdims=True)
        results["img"] = grey.repeat(self.out_channels or len(self.weights), axis=2)
        results["img_shape"] = results["img"].shape[:2]
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(out_channels={self.out_channels}, weights={self.weights})"


@TRANSFORMS.register_module()
class AdjustGamma(BaseTransform):
    """Raises ``img``, on a scale from 0 to 1, to the power ``1 / gamma``; above 1 makes it brighter.

    Args:
        gamma: positive.
    """

    def __init__(self, gamma: float = 1.0) -> None:
        if isinstance(gamma, bool) or not isinstance(gamma, int | float) or gamma <= 0:
            raise ConfigError(f"AdjustGamma: gamma={gamma!r}; give a positive number")
        self.gamma = gamma
        self.table = np.array([(value / 255.0) ** (1.0 / gamma) * 255 for value in range(256)]).astype(np.uint8)

    def transform(self, results: dict) -> dict:
        """Look every value of ``results['img']`` up; values are taken as whole numbers from 0 to 255."""
        results["img"] = cv2.LUT(np.asarray(results["img"], dtype=np.uint8), self.table)
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(gamma={self.gamma})"
