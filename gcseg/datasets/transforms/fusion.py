"""Pipelines that compute, decode and read no more than the crop keeps; what comes out is the same to the bit.

For ``RandomResize`` followed by ``RandomCrop``, scale and window are drawn first, in the order in which the two draw. A
pixel of a resized image depends on its own coordinates and on the factor alone, so

* the image is resized from its upper left corner to the lower right corner of the window, and no further. The part
  above and to the left of the window cannot be left out: OpenCV rounds its weights from float32 coordinates, and these
  round differently when they are counted from another corner.
* a map is gathered: each row and column of the window from the row and column nearest to it.
* of a PNG file, rows below the window are not decoded, and of a decoded store, what is not needed is not read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import takewhile
from typing import Any

import cv2
import numpy as np
from mmengine.dataset import Compose

from gcseg.datasets.transforms._png import PngRows
from gcseg.datasets.transforms.geometric import RandomCrop, RandomResize, Resize, _seg_keys, kept_ratio
from gcseg.datasets.transforms.loading import LoadAnnotations, LoadImageFromFile

Window = tuple[int, int, int, int]
_GATHERED_WINDOWS = 3  # resizing a whole label map costs as much as gathering about four windows


def resize_region(img: np.ndarray | PngRows, size: tuple[int, int], window: Window) -> np.ndarray:
    """The window of ``cv2.resize(img, size)``, bit for bit.

    Args:
        img: (H, W) or (H, W, C) uint8, C up to 4; may be a view, or a file whose rows are still to be decoded.
        size: (width, height) of the whole resized image.
        window: (top, bottom, left, right) in the resized image; what lies beyond it is cut off.

    Returns:
        The window, in memory of its own or in that of a larger new array.
    """
    top, bottom, left, right = window
    (height, width), (new_width, new_height) = img.shape[:2], size
    if size == (width, height):
        return _rows(img, min(bottom, height))[top:bottom, left:right].copy()
    fx, fy = new_width / width, new_height / height  # as OpenCV divides, in float64
    rows = min(math.ceil((bottom + 1) / fy) + 2, height)
    columns = min(math.ceil((right + 1) / fx) + 2, width)
    unchanged = (round(columns * fx), round(rows * fy)) == (columns, rows)  # OpenCV would copy and not interpolate
    if unchanged or (rows, columns) == (height, width):
        resized = cv2.resize(_rows(img, height), size, interpolation=cv2.INTER_LINEAR)
    else:
        part = _rows(img, rows)[:, :columns]
        resized = cv2.resize(part, None, fx=fx, fy=fy, interpolation=cv2.INTER_LINEAR)
    return resized[top : min(bottom, new_height), left : min(right, new_width)]


def _rows(img: np.ndarray | PngRows, number: int) -> np.ndarray:
    return (img.rows(number) if isinstance(img, PngRows) else img)[:number]


class ResizedMap:
    """Windows of a map that is resized to the nearest pixel, each made when it is asked for.

    Args:
        array: (H, W) uint8; may be a view.
        size: (width, height) after resizing.
    """

    def __init__(self, array: np.ndarray, size: tuple[int, int]) -> None:
        self.array, self.size = array, size
        self._rows, self._columns = (
            _nearest(old, new) for old, new in zip(array.shape, (size[1], size[0]), strict=True)
        )
        self._asked = 0
        self._whole: np.ndarray | None = None
        self._last: tuple[Window, np.ndarray] | None = None

    def __call__(self, window: Window) -> np.ndarray:
        """The window (top, bottom, left, right), cut off at the edges."""
        if self._last is None or self._last[0] != window:
            self._asked += 1
            self._last = window, self._make(*window)
        return self._last[1]

    def _make(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        if self._asked > _GATHERED_WINDOWS:
            if self._whole is None:
                self._whole = cv2.resize(self.array, self.size, interpolation=cv2.INTER_NEAREST)
            return self._whole[top:bottom, left:right]
        rows, columns = self._rows[top:bottom], self._columns[left:right]
        part = self.array[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        rows, columns = rows - rows[0], columns - columns[0]
        if len(part) < len(rows):  # the shorter way: columns of few rows first
            return part.take(columns, axis=1)[rows]
        return part[rows].take(columns, axis=1)


def _nearest(old: int, new: int) -> np.ndarray:
    """Which of ``old`` pixels each of ``new`` ones is; (new,) int64. OpenCV is asked: the rounding is its own."""
    places = np.arange(old, dtype=np.float32)[None]
    return cv2.resize(places, (new, 1), interpolation=cv2.INTER_NEAREST)[0].astype(np.int64)


class FusedResizeCrop:
    """Does what ``resize`` and then ``crop`` do.

    Whatever they cannot do in one step, such as float images or boxes, they do one after the other.
    """

    def __init__(self, resize: RandomResize, crop: RandomCrop) -> None:
        self.resize, self.crop = resize, crop

    def __call__(self, results: dict) -> dict | None:
        """Resize and crop ``results``."""
        if not self._can_fuse(results):
            if isinstance(results.get("img"), PngRows):
                results["img"] = _rows(results["img"], results["img"].shape[0])
            resized = self.resize(results)
            return None if resized is None else self.crop(resized)
        img = results["img"]
        height, width = img.shape[:2]
        scale = results["scale"] = self.resize._random_scale()
        keep_ratio = self.resize.resize.keep_ratio
        size = kept_ratio((width, height), scale, results) if keep_ratio else tuple(scale)
        maps = {key: ResizedMap(results[key], size) for key in _seg_keys(results)}
        window = self.crop.choose_window(size[1], size[0], results, maps.get("gt_seg_map"))
        results["img"] = resize_region(img, size, window)
        results.update({key: of(window) for key, of in maps.items()})
        results["img_shape"] = results["img"].shape[:2]
        results["scale_factor"] = (size[0] / width, size[1] / height)
        results["keep_ratio"] = keep_ratio
        return results

    @staticmethod
    def _can_fuse(results: dict) -> bool:
        img = results.get("img")
        if not isinstance(img, PngRows):
            if not isinstance(img, np.ndarray) or img.dtype != np.uint8 or img.ndim not in (2, 3) or not img.size:
                return False
            if img.ndim == 3 and img.shape[2] > 4:
                return False
        if any(results.get(key) is not None for key in ("gt_bboxes", "gt_keypoints")):
            return False
        keys = _seg_keys(results)
        if results.get("gt_seg_map") is not None and "gt_seg_map" not in keys:
            return False
        maps = [results[key] for key in keys]
        return all(isinstance(m, np.ndarray) and m.dtype == np.uint8 and m.shape == img.shape[:2] for m in maps)


def fuse(transforms: Sequence[Callable]) -> list[Callable]:
    """The same pipeline, with less to compute and to read.

    Every ``RandomResize`` that a ``RandomCrop`` follows is done together with it. Where what follows the loading makes
    new arrays of a part or of all of the pixels, the loading leaves those of a decoded store where they are. Only
    gcseg's own classes with OpenCV's bilinear resize are treated so; sub-classes and other options stay as they are.
    """
    steps: list[Any] = []
    for step in transforms:
        before = steps[-1] if steps else None
        if type(step) is RandomCrop and type(before) is RandomResize and _is_plain(before.resize):
            steps[-1] = FusedResizeCrop(before, step)
        else:
            steps.append(step)
    loaders = list(takewhile(lambda step: type(step) in (LoadImageFromFile, LoadAnnotations), steps))
    if len(loaders) < len(steps) and _makes_new_arrays(steps[len(loaders)]):
        in_part = {"whole": False} if type(steps[len(loaders)]) is FusedResizeCrop else {}
        for place, loader in enumerate(loaders):
            steps[place] = partial(
                loader.load, writable=False, **(in_part if type(loader) is LoadImageFromFile else {})
            )
    return steps


def _makes_new_arrays(step: Any) -> bool:
    if type(step) is RandomResize:
        return _is_plain(step.resize)
    return type(step) in (FusedResizeCrop, RandomCrop) or _is_plain(step)


def _is_plain(resize: Any) -> bool:
    return type(resize) is Resize and (resize.backend, resize.interpolation) == ("cv2", "bilinear")


class FusedCompose(Compose):
    """A pipeline; ``transforms`` are those of the config, and what runs is :func:`fuse` of them."""

    def __init__(self, transforms: Sequence[dict | Callable] | None) -> None:
        super().__init__(transforms)
        self._fused_from: list[Callable] = []
        self._steps: list[Callable] = []

    def __call__(self, data: dict) -> dict | None:
        """Run the pipeline; None when a step gives None."""
        if self._fused_from != self.transforms:  # at first, or when somebody changed the list
            self._fused_from = list(self.transforms)
            self._steps = fuse(self._fused_from)
        result: dict | None = data
        for step in self._steps:
            result = step(result)
            if result is None:
                return None
        return result
