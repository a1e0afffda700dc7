"""Colour distortion. Every step is a function of one byte: a table of 256 entries instead of a float image.

A table that only adds or only multiplies is not looked up but computed by OpenCV's saturating integer arithmetic, which
takes an eighth and a quarter of the time; the table says whether that gives the same bytes.
"""

# ruff: noqa: NPY002  (recipes are reproduced with the global numpy stream that mmsegmentation draws from)

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from gcseg.registry import TRANSFORMS
from gcseg.utils.errors import ConfigError, DataError

_BYTES: np.ndarray = np.arange(256, dtype=np.uint8)
# floor(x) is x - 1/2 rounded, but for whole x; with these two in place of 1/2, x may stray by 1e-4 (float32: 6e-5).
_NEARLY_HALF = (0.4994, 0.4996)


def _add(img: np.ndarray, table: np.ndarray) -> np.ndarray:
    """``cv2.LUT(img, table)`` for a table that adds a number, (H, W) or (H, W, 3) uint8."""
    shift = int(table[128]) - 128
    if np.array_equal(table, np.clip(_BYTES.astype(np.int64) + shift, 0, 255)):
        return cv2.add(img, (shift, shift, shift, 0))
    return cv2.LUT(img, table)


def _multiply(img: np.ndarray, table: np.ndarray, factor: float) -> np.ndarray:
    """``cv2.LUT(img, table)`` for a table that multiplies by a factor and cuts the fraction off."""
    if all(np.array_equal(table, cv2.convertScaleAbs(_BYTES, None, factor, -x).ravel()) for x in _NEARLY_HALF):
        return cv2.convertScaleAbs(img, None, factor, -sum(_NEARLY_HALF) / 2)
    return cv2.LUT(img, table)


def _in_hsv(img: np.ndarray, channel: int, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Change one channel of the image's hue (0 to 179), saturation and value."""
    planes = list(cv2.split(cv2.cvtColor(img, cv2.COLOR_BGR2HSV)))
    planes[channel] = change(planes[channel])
    return cv2.cvtColor(cv2.merge(planes), cv2.COLOR_HSV2BGR)


@TRANSFORMS.register_module()
class PhotoMetricDistortion(BaseTransform):
    """Random brightness, contrast, saturation and hue of ``img``, each with probability 1/2 (SSD, Liu et al. 2016).

    Contrast comes before or after the other colours, also by lot. Draws the same numbers as mmsegmentation's and gives
    the same bytes.

    Args:
        brightness_delta: brightness changes by up to this much, in levels of 255.
        contrast_range: lowest and highest factor of all channels.
        saturation_range: lowest and highest factor of the saturation.
        hue_delta: hue turns by up to this much, in steps of 2 degrees; 0 to 180.

    Raises:
        DataError: ``img`` is not (H, W, 3) uint8.
    """

    def __init__(
        self,
        brightness_delta: float = 32,
        contrast_range: Sequence[float] = (0.5, 1.5),
        saturation_range: Sequence[float] = (0.5, 1.5),
        hue_delta: int = 18,
    ) -> None:
        for name, limits in (("contrast_range", contrast_range), ("saturation_range", saturation_range)):
            if len(limits) != 2 or not 0 <= limits[0] <= limits[1]:
                raise ConfigError(f"PhotoMetricDistortion: {name}={limits}; give (lowest, highest), neither negative")
        if brightness_delta < 0 or not 0 <= hue_delta <= 180:
            raise ConfigError(
                f"PhotoMetricDistortion: brightness_delta={brightness_delta}, hue_delta={hue_delta}; brightness_delta "
                "is at least 0, hue_delta 0 to 180"
            )
        self.brightness_delta = brightness_delta
        self.contrast_lower, self.contrast_upper = contrast_range
        self.saturation_lower, self.saturation_upper = saturation_range
        self.hue_delta = hue_delta

    @staticmethod
    def _linear(factor: float = 1, offset: float = 0) -> np.ndarray:
        """What each byte becomes under ``factor * x + offset`` in float32, clipped and cut to a byte; (256,) uint8."""
        return np.clip(_BYTES.astype(np.float32) * factor + offset, 0, 255).astype(np.uint8)

    def brightness(self, img: np.ndarray) -> np.ndarray:
        """Add a random number of levels, or not."""
        if np.random.randint(2):
            delta = np.random.uniform(-self.brightness_delta, self.brightness_delta)
            return _add(img, self._linear(offset=delta))
        return img

    def contrast(self, img: np.ndarray) -> np.ndarray:
        """Multiply by a random factor, or not."""
        if np.random.randint(2):
            factor = np.random.uniform(self.contrast_lower, self.contrast_upper)
            return _multiply(img, self._linear(factor), factor)
        return img

    def saturation(self, img: np.ndarray) -> np.ndarray:
        """Multiply the saturation by a random factor, or not."""
        if np.random.randint(2):
            factor = np.random.uniform(self.saturation_lower, self.saturation_upper)
            return _in_hsv(img, 1, lambda plane: _multiply(plane, self._linear(factor), factor))
        return img

    def hue(self, img: np.ndarray) -> np.ndarray:
        """Turn the hue by a random angle, or not."""
        if np.random.randint(2) and self.hue_delta:
            turn = np.random.randint(-self.hue_delta, self.hue_delta)
            table = ((_BYTES.astype(np.int64) + turn) % 180).astype(np.uint8)
            return _in_hsv(img, 0, lambda plane: cv2.LUT(plane, table))
        return img

    def transform(self, results: dict) -> dict:
        """Distort ``results['img']``."""
        img = results["img"]
        if img.dtype != np.uint8 or img.ndim != 3 or img.shape[2] != 3:
            raise DataError(
                f"PhotoMetricDistortion: img is {img.dtype} of shape {img.shape}; it works on uint8 (H, W, 3): leave "
                "out to_float32=True and color_type of LoadImageFromFile, or, for other channels, this transform"
            )
        img = self.brightness(img)
        contrast_first = np.random.randint(2)
        if contrast_first:
            img = self.contrast(img)
        img = self.hue(self.saturation(img))
        if not contrast_first:
            img = self.contrast(img)
        results["img"] = img
        return results

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(brightness_delta={self.brightness_delta}, "
            f"contrast_range=({self.contrast_lower}, {self.contrast_upper}), "
            f"saturation_range=({self.saturation_lower}, {self.saturation_upper}), hue_delta={self.hue_delta})"
        )
