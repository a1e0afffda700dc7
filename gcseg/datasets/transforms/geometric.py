"""Resize, crop, flip, pad: of the image and of every map in ``seg_fields``."""

# ruff: noqa: NPY002  (recipes are reproduced with the global numpy stream that mmsegmentation draws from)

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import cv2
import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms import Pad as _Pad
from mmcv.transforms import RandomFlip as _RandomFlip
from mmcv.transforms import RandomResize as _RandomResize
from mmcv.transforms import Resize as _Resize
from mmcv.transforms.utils import cache_randomness

from gcseg.registry import TRANSFORMS
from gcseg.utils.errors import ConfigError, DataError


def _seg_keys(results: dict) -> list[str]:
    """Names of the maps that move with the image."""
    return [key for key in results.get("seg_fields", ()) if results.get(key) is not None]


def _label_counts(seg_map: np.ndarray) -> np.ndarray:
    """Number of pixels of each label, (256,) or longer, int64."""
    if seg_map.dtype == np.uint8 and seg_map.size < 2**24:  # calcHist answers in float32, whole numbers up to 2**24
        return cv2.calcHist([seg_map], [0], None, [256], [0, 256]).ravel().astype(np.int64)
    return np.bincount(seg_map.ravel(), minlength=256)


def kept_ratio(size: Sequence[int], scale: Sequence[int], results: dict) -> tuple[int, int]:
    """(width, height) that an image of ``size`` gets within ``scale``, both (width, height).

    Raises:
        DataError: its shorter side would get no pixel.
    """
    scaled = mmcv.rescale_size(tuple(size), scale)
    if 0 in scaled:
        raise DataError(
            f"{results.get('img_path') or 'the image'}: {size[0]} x {size[1]} pixels, of which keep_ratio leaves "
            f"{scaled[0]} x {scaled[1]} within {scale}; crop it, or take it off the list"
        )
    return scaled


def _pair(value: Any, what: str, order: str) -> tuple[int, int]:
    """An int, or two, as a tuple of two positive ints."""
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or not all(isinstance(v, int | np.integer) and v > 0 for v in pair):
        raise ConfigError(f"{what}={value!r}; give one or two positive integers, {order}")
    return int(pair[0]), int(pair[1])


@TRANSFORMS.register_module()
class Resize(_Resize):
    """Resizes ``img`` (bilinear by default) and the maps in ``seg_fields`` (always to the nearest pixel).

    Sets ``scale``, ``scale_factor`` (w_scale, h_scale), ``img_shape`` (H, W), ``keep_ratio``.

    Args:
        scale: (width, height), or one number for both. With ``keep_ratio`` the image becomes as large as fits: the
            longer side into the larger number and the shorter side into the smaller, whichever is written first.
        scale_factor: one factor, or (w, h); used when ``scale`` is None.
        keep_ratio: keep the ratio of width and height.
        clip_object_border: of no meaning for segmentation; mmcv has it.
        backend: ``"cv2"`` or ``"pillow"``.
        interpolation: of the image: nearest, bilinear, bicubic, area, lanczos.
    """

    def __init__(
        self,
        scale: int | Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
        keep_ratio: bool = False,
        clip_object_border: bool = True,
        backend: str = "cv2",
        interpolation: str = "bilinear",
    ) -> None:
        if scale is None and scale_factor is None:
            raise ConfigError("Resize: neither scale nor scale_factor is given; give scale=(width, height) or a factor")
        if scale is not None and scale != 0:  # 0: RandomResize sets it for each image
            scale = _pair(scale, "Resize: scale", "(width, height)")
        if isinstance(scale_factor, int | float):
            scale_factor = float(scale_factor)
        elif scale_factor is not None:
            scale_factor = tuple(scale_factor)
        super().__init__(scale, scale_factor, keep_ratio, clip_object_border, backend, interpolation)

    def _resize_img(self, results: dict) -> None:
        if self.keep_ratio and results.get("img") is not None:
            height, width = results["img"].shape[:2]
            kept_ratio((width, height), results["scale"], results)
        super()._resize_img(results)

    def _resize_seg(self, results: dict) -> None:
        resize = mmcv.imrescale if self.keep_ratio else mmcv.imresize
        for key in _seg_keys(results):
            results[key] = resize(results[key], results["scale"], interpolation="nearest", backend=self.backend)


@TRANSFORMS.register_module()
class RandomResize(_RandomResize):
    """Resizes to ``scale`` times a random factor, or to a random size between two.

    Args:
        scale: (width, height) with ``ratio_range``, or two such pairs that enclose the sizes to draw.
        ratio_range: smallest and largest factor, drawn uniformly.
        resize_type: name of the transform that does it, with an attribute ``scale``.
        **resize_kwargs: its other arguments, such as ``keep_ratio=True``.
    """

    def __init__(
        self,
        scale: Sequence[int] | Sequence[Sequence[int]],
        ratio_range: Sequence[float] | None = None,
        resize_type: Any = "Resize",
        **resize_kwargs: Any,
    ) -> None:
        if all(isinstance(side, int) for side in scale):
            self.scale: Any = _pair(scale, "RandomResize: scale", "(width, height)")
            if ratio_range is None or len(ratio_range) != 2 or not 0 < ratio_range[0] <= ratio_range[1]:
                raise ConfigError(
                    f"RandomResize: ratio_range={ratio_range} with one scale {self.scale}; give the smallest and the "
                    "largest factor"
                )
        else:
            if len(scale) != 2:
                raise ConfigError(f"RandomResize: scale={scale}; give (width, height) or two such pairs")
            self.scale = [_pair(pair, "RandomResize: scale", "(width, height)") for pair in scale]
        self.ratio_range = None if ratio_range is None else tuple(ratio_range)
        self.resize_cfg = dict(type=resize_type, **resize_kwargs)
        self.resize = TRANSFORMS.build(dict(scale=0, **self.resize_cfg))


@TRANSFORMS.register_module()
class RandomFlip(_RandomFlip):
    """Flips ``img`` and the maps in ``seg_fields`` by lot; arguments are mmcv's.

    Sets ``flip`` and ``flip_direction`` (None when not flipped). ``swap_seg_labels``, pairs of labels that change
    places in a mirror such as left and right hand, applies to the maps.
    """

    def _flip(self, results: dict) -> None:
        direction = results["flip_direction"]
        results["img"] = self._mirror(results["img"], direction)
        for key in _seg_keys(results):
            if self.swap_seg_labels is None:
                results[key] = self._mirror(results[key], direction)
            else:
                results[key] = np.ascontiguousarray(self._flip_seg_map(results[key], direction=direction))
                results["swap_seg_labels"] = self.swap_seg_labels

    @staticmethod
    def _mirror(array: np.ndarray, direction: str) -> np.ndarray:
        """The mirror image in new memory: what comes next reads it forwards."""
        axis = {"horizontal": 1, "vertical": 0, "diagonal": -1}[direction]
        if array.ndim == 2 or array.shape[2] in (3, 4):
            return cv2.flip(array, axis)
        return np.ascontiguousarray(mmcv.imflip(array, direction=direction))


@TRANSFORMS.register_module()
class RandomCrop(BaseTransform):
    """Cuts a random window out of ``img`` and of the maps in ``seg_fields``.

    An image that is smaller than the window stays as it is in that direction; the data preprocessor pads it.

    Args:
        crop_size: (height, width), or one number for both.
        cat_max_ratio: a window where one class fills this fraction of the labelled pixels or more, or where there is
            one class only, is drawn again, up to ten times. 1 takes the first.
        ignore_index: label that does not count; None takes the data set's.

    Raises:
        DataError: ``cat_max_ratio`` is below 1 and there is no label map.
    """

    def __init__(
        self, crop_size: int | Sequence[int], cat_max_ratio: float = 1.0, ignore_index: int | None = None
    ) -> None:
        self.crop_size = _pair(crop_size, "RandomCrop: crop_size", "(height, width)")
        if not 0 < cat_max_ratio <= 1:
            raise ConfigError(f"RandomCrop: cat_max_ratio={cat_max_ratio}; give a fraction above 0 and at most 1")
        self.cat_max_ratio = cat_max_ratio
        self.ignore_index = ignore_index

    def _draw(self, height: int, width: int) -> tuple[int, int, int, int]:
        top = np.random.randint(0, max(height - self.crop_size[0], 0) + 1)
        left = np.random.randint(0, max(width - self.crop_size[1], 0) + 1)
        return top, top + self.crop_size[0], left, left + self.crop_size[1]

    @cache_randomness
    def crop_bbox(self, results: dict) -> tuple[int, int, int, int]:
        """A random window as (top, bottom, left, right); may reach beyond a small image."""
        seg_map = results.get("gt_seg_map")
        height, width = results["img"].shape[:2]
        return self.choose_window(height, width, results, None if seg_map is None else partial(self.crop, seg_map))

    def choose_window(
        self,
        height: int,
        width: int,
        results: dict,
        label_of: Callable[[tuple[int, int, int, int]], np.ndarray] | None,
    ) -> tuple[int, int, int, int]:
        """Draw windows until one will do.

        Args:
            height: of the image.
            width: of the image.
            results: for ``ignore_index`` of the data set.
            label_of: gives the part of the label map that is in a window; None when there is no label map.

        Returns:
            (top, bottom, left, right).
        """
        window = self._draw(height, width)
        if self.cat_max_ratio < 1:
            if label_of is None:
                raise DataError("RandomCrop(cat_max_ratio below 1) looks at labels: put LoadAnnotations before it")
            ignore = results.get("ignore_index", 255) if self.ignore_index is None else self.ignore_index
            for _ in range(10):
                counts = _label_counts(label_of(window))
                if 0 <= ignore < len(counts):
                    counts[ignore] = 0
                if np.count_nonzero(counts) > 1 and counts.max() / counts.sum() < self.cat_max_ratio:
                    break
                window = self._draw(height, width)
        return window

    def crop(self, img: np.ndarray, crop_bbox: tuple[int, int, int, int]) -> np.ndarray:
        """A view of the window of ``img``, (H, W) or (H, W, C)."""
        top, bottom, left, right = crop_bbox
        return img[top:bottom, left:right]

    def transform(self, results: dict) -> dict:
        """Crop ``results``."""
        window = self.crop_bbox(results)
        for key in ("img", *_seg_keys(results)):
            part = self.crop(results[key], window)
            results[key] = part if part.flags.writeable else part.copy()  # read-only: of a decoded store
        results["img_shape"] = results["img"].shape[:2]
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(crop_size={self.crop_size}, cat_max_ratio={self.cat_max_ratio})"


@TRANSFORMS.register_module()
class Pad(_Pad):
    """Pads ``img`` at the right and at the bottom, and the maps in ``seg_fields`` with it.

    Sets ``pad_shape`` and ``img_shape`` (H, W).

    Args:
        size: (width, height) to pad to.
        size_divisor: pad to a multiple of this instead.
        pad_to_square: pad to a square instead.
        pad_val: a number for the image, or ``dict(img=..., seg=...)``; maps get ``ignore_index`` when nothing is said.
        padding_mode: constant, edge, reflect or symmetric.
    """

    def __init__(
        self,
        size: Sequence[int] | None = None,
        size_divisor: int | None = None,
        pad_to_square: bool = False,
        pad_val: float | dict | None = None,
        padding_mode: str = "constant",
    ) -> None:
        if size is not None:
            size = _pair(size, "Pad: size", "(width, height)")
        if (size is not None) + (size_divisor is not None) != 1 and not pad_to_square:
            raise ConfigError(f"Pad: size={size}, size_divisor={size_divisor}; give one of them, or pad_to_square=True")
        values = dict(pad_val) if isinstance(pad_val, dict) else {} if pad_val is None else {"img": pad_val}
        super().__init__(size, size_divisor, pad_to_square, {"img": 0, **values}, padding_mode)

    def _pad_img(self, results: dict) -> None:
        super()._pad_img(results)
        results["pad_shape"] = results["img"].shape[:2]

    def _pad_seg(self, results: dict) -> None:
        value = self.pad_val.get("seg", results.get("ignore_index", 255))
        for key in _seg_keys(results):
            shape = results["pad_shape"][:2]
            results[key] = mmcv.impad(results[key], shape=shape, pad_val=value, padding_mode=self.padding_mode)
