"""Resize and crop in one step give what they give one after the other, and do less."""

from __future__ import annotations

import copy

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mmengine.dataset import Compose

from gcseg.datasets.transforms import LoadAnnotations, LoadImageFromFile, PackSegInputs, RandomCrop, RandomFlip, fusion
from gcseg.datasets.transforms import RandomResize as _RandomResize
from gcseg.datasets.transforms.fusion import FusedCompose, FusedResizeCrop, fuse
from gcseg.utils import DataError


class RandomResize(_RandomResize):
    """Of the user's own."""


def picture(height, width, channels=3, filled=0.5, seed=0):
    """Noise, whose interpolation shows every weight, and labels 0 to 2, many of them 0."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, (height, width), dtype=np.uint8)
    label[:, : int(filled * width)] = 0
    shape = (height, width) if channels == 1 else (height, width, channels)
    return {
        "img": rng.integers(0, 256, shape, dtype=np.uint8),
        "gt_seg_map": label,
        "gt_edge_map": label[:, ::-1].copy(),
        "seg_fields": ["gt_seg_map", "gt_edge_map"],
        "ori_shape": (height, width),
        "img_shape": (height, width),
    }


def both(resize, crop, results, seed=0):
    """What the pair and what the one step give, each with the next number of the random stream."""
    found = []
    for step in (Compose([resize, crop]), FusedResizeCrop(resize, crop)):
        np.random.seed(seed)
        found.append((step(copy.deepcopy(results)), np.random.rand()))
    return found


def assert_same(wanted, got):
    assert wanted[1] == got[1]
    assert wanted[0].keys() == got[0].keys()
    for key, value in wanted[0].items():
        if isinstance(value, np.ndarray):
            assert value.dtype == got[0][key].dtype and value.shape == got[0][key].shape, key
            assert (value == got[0][key]).all(), key
            assert got[0][key].flags.writeable
        else:
            assert value == got[0][key] and type(value) is type(got[0][key]), key


class TestFusedResizeCrop:
    @settings(max_examples=400, deadline=None, derandomize=True)
    @given(
        size=st.tuples(st.integers(2, 150), st.integers(2, 150)),
        scale=st.one_of(st.none(), st.tuples(st.integers(6, 200), st.integers(6, 200))),
        ratio=st.sampled_from([(0.5, 2.0), (0.98, 1.02), (1.0, 1.0), (2.0, 2.0), (0.5, 0.5), (0.3, 3.0)]),
        keep_ratio=st.booleans(),
        crop_size=st.tuples(st.integers(1, 200), st.integers(1, 200)),
        cat_max_ratio=st.sampled_from([1.0, 0.4, 0.75]),
        channels=st.sampled_from([1, 3, 3, 4]),
        filled=st.floats(0, 1),
        seed=st.integers(0, 1000),
    )
    # OpenCV copies an image that keeps its size: no part of this one may be resized by itself
    @example((49, 132), (131, 81), (1.0, 1.0), True, (151, 9), 1.0, 3, 0.5, 0)
    def test_same_as_one_after_the_other(
        self, size, scale, ratio, keep_ratio, crop_size, cat_max_ratio, channels, filled, seed
    ):
        scale = (max(size[1], 6), max(size[0], 6)) if scale is None else scale
        resize = _RandomResize(scale=scale, ratio_range=ratio, keep_ratio=keep_ratio)
        if keep_ratio and min(size) * min(scale) * ratio[0] / max(size) < 3:  # would become thinner than a pixel
            keep_ratio = resize.resize.keep_ratio = False
        crop = RandomCrop(crop_size, cat_max_ratio=cat_max_ratio)
        assert_same(*both(resize, crop, picture(*size, channels, filled, seed), seed))

    @pytest.mark.parametrize("keep_ratio", [True, False])
    def test_same_at_the_sizes_of_photographs(self, keep_ratio):
        data = picture(512, 1024, filled=0.9)
        resize = _RandomResize(scale=(1024, 512), ratio_range=(0.5, 2.0), keep_ratio=keep_ratio)
        for seed in range(12):
            assert_same(*both(resize, RandomCrop((256, 512), cat_max_ratio=0.75), data, seed))

    def test_between_two_scales_and_without_labels(self):
        resize = _RandomResize(scale=[(30, 20), (90, 70)])
        for seed in range(10):
            data = picture(40, 50, seed=seed)
            assert_same(*both(resize, RandomCrop(24), data, seed))
            without = {"img": data["img"], "img_shape": (40, 50)}
            assert_same(*both(resize, RandomCrop(24), without, seed))

    def test_resizes_and_gathers_what_the_crop_keeps(self, monkeypatch):
        areas = []
        resize_by_opencv = cv2.resize

        def counted(array, *args, **kwargs):
            resized = resize_by_opencv(array, *args, **kwargs)
            areas.append(resized.size)
            return resized

        monkeypatch.setattr(cv2, "resize", counted)
        pair, done = _RandomResize(scale=(400, 200), ratio_range=(2.0, 2.0), keep_ratio=True), 0
        windows = []
        for seed in range(20):
            np.random.seed(seed)
            out = FusedResizeCrop(pair, RandomCrop((100, 200)))(picture(200, 400))
            np.random.seed(seed)
            np.random.random_sample()
            top, left = np.random.randint(0, 301), np.random.randint(0, 601)
            windows.append((top + 100) * (left + 200) * 3)
            assert out["img"].shape == (100, 200, 3)
            done += sum(areas)
            areas.clear()
        # to the lower right corner of each window, with a small margin; the whole would be 400 * 800 * 3 each
        assert sum(windows) < done < 1.1 * sum(windows) < 0.6 * 20 * 400 * 800 * 3

    def test_a_label_map_is_resized_once_when_many_windows_are_tried(self, monkeypatch):
        whole = []
        resize_by_opencv = cv2.resize

        def counted(array, *args, **kwargs):
            whole.append(array.shape == (60, 80))
            return resize_by_opencv(array, *args, **kwargs)

        data = picture(60, 80, channels=1, filled=1.0)  # one class: eleven windows
        pair = _RandomResize(scale=(160, 120), ratio_range=(1.0, 1.0)), RandomCrop(30, cat_max_ratio=0.5)
        assert_same(*both(*pair, data))
        monkeypatch.setattr(cv2, "resize", counted)
        FusedResizeCrop(*pair)({**data, "img": np.zeros((60, 80, 3), np.uint8)})
        assert sum(whole) == 1

    def test_what_cannot_be_done_in_one_step_is_done_in_two(self):
        pair = _RandomResize(scale=(60, 40), ratio_range=(0.5, 2.0)), RandomCrop(16)
        data = picture(40, 60)
        for changed in (
            {"img": data["img"].astype(np.float32)},
            {"img": np.repeat(data["img"], 3, axis=2)},
            {"gt_seg_map": data["gt_seg_map"].astype(np.int16)},
            {"gt_edge_map": data["gt_edge_map"][:20]},
            {"gt_bboxes": np.array([[2.0, 3.0, 9.0, 8.0]])},
        ):
            assert_same(*both(*pair, {**data, **changed}))

    def test_error_of_the_crop(self):
        step = FusedResizeCrop(_RandomResize(scale=(60, 40), ratio_range=(1, 1)), RandomCrop(16, cat_max_ratio=0.5))
        with pytest.raises(DataError, match="LoadAnnotations before it"):
            step({"img": np.zeros((40, 60, 3), np.uint8)})


class TestFuse:
    crop = RandomCrop(16)

    def test_the_pair_of_the_recipes(self):
        flip = RandomFlip(prob=0.5)
        steps = fuse([_RandomResize(scale=(60, 40), ratio_range=(1, 2), keep_ratio=True), self.crop, flip])
        assert type(steps[0]) is FusedResizeCrop and steps[1:] == [flip]

    @pytest.mark.parametrize(
        "resize",
        [
            RandomResize(scale=(60, 40), ratio_range=(1, 2)),
            _RandomResize(scale=(60, 40), ratio_range=(1, 2), interpolation="bicubic"),
            _RandomResize(scale=(60, 40), ratio_range=(1, 2), backend="pillow"),
            _RandomResize(scale=(60, 40), ratio_range=(1, 2), resize_type="mmcv.Resize"),
        ],
        ids=["subclass", "bicubic", "pillow", "another_resize"],
    )
    def test_others_stay_as_they_are(self, resize):
        assert fuse([resize, self.crop]) == [resize, self.crop]

    def test_only_neighbours(self):
        steps = [_RandomResize(scale=(60, 40), ratio_range=(1, 2)), RandomFlip(prob=0.5), self.crop]
        assert fuse(steps) == steps and fuse(steps[::-1]) == steps[::-1] and fuse([]) == []

    @pytest.mark.parametrize(("next_step", "whole"), [("pair", False), ("crop", True)])
    def test_loading_leaves_pixels_where_they_are_when_the_next_step_copies_them(self, next_step, whole):
        loaders = [LoadImageFromFile(), LoadAnnotations()]
        pair = [_RandomResize(scale=(60, 40), ratio_range=(1, 2)), self.crop]
        first, second, *_ = fuse([*loaders, *(pair if next_step == "pair" else [self.crop])])
        assert first.func == loaders[0].load and first.keywords.get("whole", True) is whole
        assert second.func == loaders[1].load and second.keywords == {"writable": False}
        assert fuse([*loaders, PackSegInputs()])[:2] == loaders


class TestFusedCompose:
    def test_shows_the_config_and_runs_the_fused_steps(self, monkeypatch):
        calls = []
        fused = FusedResizeCrop.__call__
        monkeypatch.setattr(FusedResizeCrop, "__call__", lambda self, data: calls.append(1) or fused(self, data))
        transforms = [_RandomResize(scale=(60, 40), ratio_range=(1, 2)), RandomCrop(16), PackSegInputs()]
        pipeline = FusedCompose(transforms)
        assert pipeline.transforms == transforms and "RandomCrop" in repr(pipeline)
        assert pipeline(picture(40, 60))["inputs"].shape == (3, 16, 16) and calls == [1]

    def test_follows_changes(self):
        pipeline = FusedCompose([_RandomResize(scale=(60, 40), ratio_range=(1, 1)), RandomCrop(16)])
        assert pipeline(picture(40, 60))["img"].shape == (16, 16, 3)
        pipeline.transforms[1] = RandomCrop(20)
        assert pipeline(picture(40, 60))["img"].shape == (20, 20, 3)
        del pipeline.transforms[1]
        assert pipeline(picture(40, 60))["img"].shape == (40, 60, 3)

    def test_none_ends_it(self):
        assert FusedCompose([lambda data: None, RandomCrop(16)])({}) is None


def test_the_nearest_pixel_is_opencvs():
    for old in range(1, 40):
        for new in range(1, 60):
            places = np.arange(old, dtype=np.uint8)
            wanted = cv2.resize(places[:, None], (1, new), interpolation=cv2.INTER_NEAREST)[:, 0]
            assert (fusion._nearest(old, new) == wanted).all()
