"""More ways to resize, rotate and rescale, beside those of the recipes."""

# ruff: noqa: NPY002  (draws from the global numpy stream in mmsegmentation's order)

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms import RandomChoiceResize as _RandomChoiceResize
from mmcv.transforms.utils import cache_randomness

from gcseg.datasets.transforms.geometric import _pair, _seg_keys
from gcseg.registry import TRANSFORMS
from gcseg.utils.errors import ConfigError


@TRANSFORMS.register_module()
class ResizeToMultiple(BaseTransform):
    """Enlarges ``img`` and the maps in ``seg_fields`` to the next multiple of ``size_divisor`` in both directions.

    Sets ``img_shape`` and ``pad_shape`` (H, W).

    Args:
        size_divisor: one number, or (width, height).
        interpolation: of the image; bilinear when None. Maps take the nearest pixel.
    """

    def __init__(self, size_divisor: int | Sequence[int] = 32, interpolation: str | None = None) -> None:
        self.size_divisor = _pair(size_divisor, "ResizeToMultiple: size_divisor", "(width, height)")
        self.interpolation = interpolation

    def transform(self, results: dict) -> dict:
        """Resize ``results``."""
        size = tuple(
            -(-side // step) * step for side, step in zip(results["img"].shape[1::-1], self.size_divisor, strict=True)
        )
        results["img"] = mmcv.imresize(results["img"], size, interpolation=self.interpolation or "bilinear")
        results["img_shape"] = results["pad_shape"] = results["img"].shape[:2]
        for key in _seg_keys(results):
            results[key] = mmcv.imresize(results[key], size, interpolation="nearest")
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size_divisor={self.size_divisor}, interpolation={self.interpolation})"


@TRANSFORMS.register_module()
class ResizeShortestEdge(BaseTransform):
    """Resizes so that the shorter side becomes ``scale``, or less where the longer one would pass ``max_size``.

    Keeps the ratio of the sides. The rest is as for ``Resize``.

    Args:
        scale: length of the shorter side in pixels; of several numbers the smallest counts.
        max_size: most pixels of the longer side.
    """

    def __init__(self, scale: int | Sequence[int], max_size: int) -> None:
        self.scale = scale if isinstance(scale, int) else min(scale)
        self.max_size = max_size
        if self.scale <= 0 or max_size <= 0:
            raise ConfigError(
                f"ResizeShortestEdge: scale={scale}, max_size={max_size}; give positive numbers of pixels"
            )
        self.resize = TRANSFORMS.build(dict(type="Resize", scale=0, keep_ratio=True))

    def target_size(self, height: int, width: int) -> tuple[int, int]:
        """(W, H) after resizing, half a pixel rounded up."""
        short, long = min(height, width), max(height, width)
        factor = self.scale * 1.0 / short
        sides = (float(self.scale), factor * long)
        if max(sides) > self.max_size:
            shrink = self.max_size * 1.0 / max(sides)
            sides = (sides[0] * shrink, sides[1] * shrink)
        new_short, new_long = (int(side + 0.5) for side in sides)
        return (new_long, new_short) if height < width else (new_short, new_long)

    def transform(self, results: dict) -> dict:
        """Resize ``results``."""
        self.resize.scale = self.target_size(*results["img"].shape[:2])
        return self.resize(results)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(scale={self.scale}, max_size={self.max_size})"


@TRANSFORMS.register_module()
class RandomChoiceResize(_RandomChoiceResize):
    """Resizes to one of several sizes, all equally likely; sets ``scale_idx`` beside what ``Resize`` sets.

    Args:
        scales: sizes, each (width, height) or one number.
        resize_type: name of the transform that does it, with an attribute ``scale``.
        **resize_kwargs: its other arguments, such as ``keep_ratio=True`` or, for ResizeShortestEdge, ``max_size=2048``.
    """

    def __init__(self, scales: Sequence[Any], resize_type: Any = "Resize", **resize_kwargs: Any) -> None:
        self.scales = list(scales) if isinstance(scales, list) else [scales]
        for scale in self.scales:
            _pair(scale, "RandomChoiceResize: one of scales", "(width, height)")
        if not self.scales:
            raise ConfigError("RandomChoiceResize: scales is empty; give at least one size")
        self.resize_cfg = dict(type=resize_type, **resize_kwargs)
        self.resize = TRANSFORMS.build(dict(scale=self.scales[0], **self.resize_cfg))


@TRANSFORMS.register_module()
class RandomRotate(BaseTransform):
    """Rotates ``img`` (bilinear) and the maps in ``seg_fields`` (nearest pixel) by a random angle.

    Args:
        prob: how often, 0 to 1.
        degree: largest angle in degrees, either way, or (smallest, largest); positive is clockwise.
        pad_val: of the image, where nothing was: one number for all channels, or one for each.
        seg_pad_val: of the maps, where nothing was.
        center: (x, y) in pixels; the middle of the image when None.
        auto_bound: enlarge the image so that nothing is cut off; not with ``center``.
    """

    def __init__(
        self,
        prob: float,
        degree: float | Sequence[float],
        pad_val: float | Sequence[float] = 0,
        seg_pad_val: float = 255,
        center: tuple[float, float] | None = None,
        auto_bound: bool = False,
    ) -> None:
        if not 0 <= prob <= 1:
            raise ConfigError(f"RandomRotate: prob={prob}; give a probability from 0 to 1")
        if isinstance(degree, int | float):
            if degree <= 0:
                raise ConfigError(f"RandomRotate: degree={degree}; give a positive angle, or (smallest, largest)")
            degree = (-degree, degree)
        if len(degree) != 2:
            raise ConfigError(f"RandomRotate: degree={degree}; give one angle, or (smallest, largest)")
        if center is not None and auto_bound:
            raise ConfigError("RandomRotate: center and auto_bound=True exclude each other; leave one out")
        self.prob, self.degree = prob, tuple(degree)
        self.pad_val, self.seg_pad_val = pad_val, seg_pad_val
        self.center, self.auto_bound = center, auto_bound

    @cache_randomness
    def generate_degree(self) -> tuple[bool, float]:
        """Whether to rotate, and by how many degrees."""
        return bool(np.random.rand() < self.prob), float(np.random.uniform(min(self.degree), max(self.degree)))

    def transform(self, results: dict) -> dict:
        """Rotate ``results``."""
        rotate, angle = self.generate_degree()
        if not rotate:
            return results
        place = dict(angle=angle, center=self.center, auto_bound=self.auto_bound)
        # OpenCV takes a single number for the first channel's alone.
        fill = (self.pad_val,) * 4 if isinstance(self.pad_val, int | float) else tuple(self.pad_val)
        results["img"] = mmcv.imrotate(results["img"], border_value=fill, **place)
        results["img_shape"] = results["img"].shape[:2]
        for key in _seg_keys(results):
            results[key] = mmcv.imrotate(results[key], border_value=self.seg_pad_val, interpolation="nearest", **place)
        return results

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(prob={self.prob}, degree={self.degree}, pad_val={self.pad_val}, "
            f"seg_pad_val={self.seg_pad_val}, center={self.center}, auto_bound={self.auto_bound})"
        )


@TRANSFORMS.register_module()
class SegRescale(BaseTransform):
    """Rescales the maps in ``seg_fields``, and not the image, to the nearest pixel.

    Args:
        scale_factor: 1/8, for instance, for labels of the size of a head's output.
    """

    def __init__(self, scale_factor: float = 1) -> None:
        if scale_factor <= 0:
            raise ConfigError(f"SegRescale: scale_factor={scale_factor}; give a positive factor")
        self.scale_factor = scale_factor

    def transform(self, results: dict) -> dict:
        """Rescale the maps of ``results``."""
        if self.scale_factor != 1:
            for key in _seg_keys(results):
                results[key] = mmcv.imrescale(results[key], self.scale_factor, interpolation="nearest")
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(scale_factor={self.scale_factor})"
