"""Transforms that take regions out, put images together, or derive maps from labels."""

# ruff: noqa: NPY002  (draws from the global numpy stream in mmsegmentation's order)

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness

from gcseg.datasets.transforms.geometric import _pair, _seg_keys
from gcseg.registry import TRANSFORMS
from gcseg.utils.errors import ConfigError, DataError


@TRANSFORMS.register_module()
class RandomCutOut(BaseTransform):
    """Overwrites random rectangles of ``img`` and, if asked, of the maps in ``seg_fields`` (DeVries and Taylor 2017).

    Args:
        prob: how often, 0 to 1.
        n_holes: number of rectangles, or (fewest, most).
        cutout_shape: (width, height) in pixels, or a list of such to draw from.
        cutout_ratio: (width, height) as fractions of the image's, or a list of such, in place of ``cutout_shape``.
        fill_in: colour of the rectangles, one number per channel.
        seg_fill_in: label of the rectangles, 0 to 255; None leaves the labels alone.
    """

    def __init__(
        self,
        prob: float,
        n_holes: int | Sequence[int],
        cutout_shape: Any = None,
        cutout_ratio: Any = None,
        fill_in: Sequence[float] = (0, 0, 0),
        seg_fill_in: int | None = None,
    ) -> None:
        if not 0 <= prob <= 1:
            raise ConfigError(f"RandomCutOut: prob={prob}; give a probability from 0 to 1")
        if (cutout_shape is None) == (cutout_ratio is None):
            raise ConfigError("RandomCutOut: give one of cutout_shape and cutout_ratio")
        self.n_holes = (n_holes, n_holes) if isinstance(n_holes, int) else tuple(n_holes)
        if len(self.n_holes) != 2 or not 0 <= self.n_holes[0] <= self.n_holes[1]:
            raise ConfigError(f"RandomCutOut: n_holes={n_holes}; give a number, or (fewest, most)")
        if seg_fill_in is not None and not (isinstance(seg_fill_in, int) and 0 <= seg_fill_in <= 255):
            raise ConfigError(f"RandomCutOut: seg_fill_in={seg_fill_in!r}; give a label from 0 to 255, or None")
        self.with_ratio = cutout_ratio is not None
        candidates = cutout_ratio if self.with_ratio else cutout_shape
        self.candidates = candidates if isinstance(candidates, list) else [candidates]
        if not self.candidates or any(not isinstance(c, list | tuple) or len(c) != 2 for c in self.candidates):
            raise ConfigError(f"RandomCutOut: candidates {self.candidates}; give (width, height) or a list of such")
        self.prob, self.fill_in, self.seg_fill_in = prob, fill_in, seg_fill_in

    @cache_randomness
    def generate_holes(self, height: int, width: int) -> list[tuple[int, int, int, int]]:
        """Rectangles as (left, top, right, bottom), cut at the edges; none when the lot says so."""
        if not np.random.rand() < self.prob:
            return []
        holes = []
        for _ in range(np.random.randint(self.n_holes[0], self.n_holes[1] + 1)):
            left, top = np.random.randint(0, width), np.random.randint(0, height)
            w, h = self.candidates[np.random.randint(0, len(self.candidates))]
            if self.with_ratio:
                w, h = int(w * width), int(h * height)
            holes.append((left, top, min(left + w, width), min(top + h, height)))
        return holes

    def transform(self, results: dict) -> dict:
        """Cut ``results``, in place."""
        for left, top, right, bottom in self.generate_holes(*results["img"].shape[:2]):
            results["img"][top:bottom, left:right] = self.fill_in
            if self.seg_fill_in is not None:
                for key in _seg_keys(results):
                    results[key][top:bottom, left:right] = self.seg_fill_in
        return results

    def __repr__(self) -> str:
        kind = "cutout_ratio" if self.with_ratio else "cutout_shape"
        return (
            f"{type(self).__name__}(prob={self.prob}, n_holes={self.n_holes}, {kind}={self.candidates}, "
            f"fill_in={self.fill_in}, seg_fill_in={self.seg_fill_in})"
        )


@TRANSFORMS.register_module()
class RandomMosaic(BaseTransform):
    """Puts four images around a random centre, on a canvas of twice ``img_scale``.

    The image itself lies above and to the left of the centre, the three of ``mix_results`` above right, below left and
    below right. Each is first resized to fit ``img_scale``, its corner put to the centre, and what leaves the canvas is
    cut. To be used in ``MultiImageMixDataset``, which draws the other three.

    Args:
        prob: how often, 0 to 1; otherwise the image stays alone.
        img_scale: (height, width) of a quarter.
        center_ratio_range: smallest and largest centre, as a multiple of ``img_scale``.
        pad_val: value of the canvas where there is no image.
        seg_pad_val: label of the canvas where there is no image.
    """

    def __init__(
        self,
        prob: float,
        img_scale: Sequence[int] = (640, 640),
        center_ratio_range: Sequence[float] = (0.5, 1.5),
        pad_val: float = 0,
        seg_pad_val: int = 255,
    ) -> None:
        if not 0 <= prob <= 1:
            raise ConfigError(f"RandomMosaic: prob={prob}; give a probability from 0 to 1")
        if len(center_ratio_range) != 2 or not 0 <= center_ratio_range[0] <= center_ratio_range[1] <= 2:
            raise ConfigError(f"RandomMosaic: center_ratio_range={center_ratio_range}; give two numbers from 0 to 2")
        self.prob = prob
        self.img_scale = _pair(img_scale, "RandomMosaic: img_scale", "(height, width)")
        self.center_ratio_range = tuple(center_ratio_range)
        self.pad_val, self.seg_pad_val = pad_val, seg_pad_val

    def get_indices(self, dataset: Any) -> list[int]:
        """Numbers of three items of the data set."""
        return [int(np.random.randint(0, len(dataset))) for _ in range(3)]

    @cache_randomness
    def do_mosaic(self) -> bool:
        """Whether to mix."""
        return bool(np.random.rand() < self.prob)

    @cache_randomness
    def generate_mosaic_center(self) -> tuple[int, int]:
        """(x, y) in pixels of the canvas."""
        low, high = self.center_ratio_range
        x = int(np.random.uniform(low, high) * self.img_scale[1])
        y = int(np.random.uniform(low, high) * self.img_scale[0])
        return x, y

    def transform(self, results: dict) -> dict:
        """Mix ``results`` with its ``mix_results``."""
        if not self.do_mosaic():
            return results
        others = results.get("mix_results")
        if others is None or len(others) != 3:
            raise DataError(
                "RandomMosaic: no three other images in mix_results; put it into the pipeline of MultiImageMixDataset"
            )
        center = self.generate_mosaic_center()
        parts = [results, *others]
        maps = {
            key: self._compose([p[key] for p in parts], center, self.seg_pad_val, "nearest")
            for key in _seg_keys(results)
        }
        results["img"] = self._compose([p["img"] for p in parts], center, self.pad_val, "bilinear")
        results.update(maps)
        results["img_shape"] = results["ori_shape"] = results["img"].shape[:2]
        return results

    def _compose(
        self, arrays: list[np.ndarray], center: tuple[int, int], fill: float, interpolation: str
    ) -> np.ndarray:
        """The canvas with four arrays, (H, W) or (H, W, C), in reading order around the centre (x, y)."""
        high, wide = self.img_scale
        first = arrays[0]
        canvas = np.full((2 * high, 2 * wide, *first.shape[2:]), fill, dtype=first.dtype)
        for place, array in enumerate(arrays):
            ratio = min(high / array.shape[0], wide / array.shape[1])
            size = (int(array.shape[1] * ratio), int(array.shape[0] * ratio))
            part = mmcv.imresize(array, size, interpolation=interpolation)
            rows_on, rows_of = _span(center[1], part.shape[0], 2 * high, before=place < 2)
            cols_on, cols_of = _span(center[0], part.shape[1], 2 * wide, before=place % 2 == 0)
            canvas[rows_on, cols_on] = part[rows_of, cols_of]
        return canvas

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(prob={self.prob}, img_scale={self.img_scale}, "
            f"center_ratio_range={self.center_ratio_range}, pad_val={self.pad_val}, seg_pad_val={self.seg_pad_val})"
        )


def _span(center: int, length: int, limit: int, before: bool) -> tuple[slice, slice]:
    """Where a part of ``length`` that ends (``before``) or begins at ``center`` lies on the canvas, and what of it."""
    if before:
        shown = min(length, center)
        return slice(center - shown, center), slice(length - shown, length)
    shown = min(length, limit - center)
    return slice(center, center + shown), slice(0, shown)


@TRANSFORMS.register_module()
class GenerateEdge(BaseTransform):
    """Adds ``gt_edge_map``, (H, W) uint8: 1 near a border between two classes, 0 elsewhere (Ruan et al. 2019, CE2P).

    A pixel is on a border if it differs from the pixel above it, to its right, diagonally below right or diagonally
    below left, and neither of the two is ``ignore_index``; borders are then thickened.

    Args:
        edge_width: side in pixels of the square that thickens.
        ignore_index: label that makes no border.
    """

    def __init__(self, edge_width: int = 3, ignore_index: int = 255) -> None:
        if not isinstance(edge_width, int) or edge_width < 1:
            raise ConfigError(f"GenerateEdge: edge_width={edge_width!r}; give a positive number of pixels")
        self.edge_width, self.ignore_index = edge_width, ignore_index

    def transform(self, results: dict) -> dict:
        """Derive the borders from ``results['gt_seg_map']``, (H, W)."""
        label = results["gt_seg_map"]
        edge = np.zeros(label.shape, np.uint8)
        every, but_last, but_first = slice(None), slice(None, -1), slice(1, None)
        for here, there in (
            ((but_first, every), (but_last, every)),
            ((every, but_last), (every, but_first)),
            ((but_last, but_last), (but_first, but_first)),
            ((but_last, but_first), (but_first, but_last)),
        ):
            a, b = label[here], label[there]
            edge[here] |= (a != b) & (a != self.ignore_index) & (b != self.ignore_index)
        square = np.ones((self.edge_width, self.edge_width), np.uint8)
        results["gt_edge_map"] = cv2.dilate(edge, square)
        results["edge_width"] = self.edge_width
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(edge_width={self.edge_width}, ignore_index={self.ignore_index})"
