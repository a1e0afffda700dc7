"""Image and label move together; labels are never mixed; windows are drawn as mmsegmentation draws them."""

from __future__ import annotations

import numpy as np
import pytest

from gcseg.datasets.transforms import Pad, RandomCrop, RandomFlip, RandomResize, Resize
from gcseg.registry import TRANSFORMS
from gcseg.utils import ConfigError, DataError


def results(height=20, width=30, classes=4, seed=0):
    """An image whose channels tell the label and the place, so that what belongs together can be checked."""
    label = np.random.default_rng(seed).integers(0, classes, (height, width), dtype=np.uint8)
    y, x = np.mgrid[:height, :width].astype(np.uint8)
    return {
        "img": np.stack([label, y, x], axis=-1),
        "gt_seg_map": label,
        "gt_edge_map": y.copy(),
        "seg_fields": ["gt_seg_map", "gt_edge_map"],
        "img_shape": (height, width),
        "ori_shape": (height, width),
    }


class TestResize:
    def test_nearest_for_every_map(self):
        out = Resize(scale=(60, 40))(results())
        assert out["img"].shape == (40, 60, 3) and out["img_shape"] == (40, 60)
        assert (out["gt_seg_map"] == results()["gt_seg_map"].repeat(2, 0).repeat(2, 1)).all()
        assert (out["gt_edge_map"] == results()["gt_edge_map"].repeat(2, 0).repeat(2, 1)).all()
        assert out["scale_factor"] == (2.0, 2.0) and out["keep_ratio"] is False

    def test_no_new_labels_at_odd_factors(self):
        data = results(37, 53)
        data["gt_seg_map"] *= 80
        out = Resize(scale_factor=1.37, keep_ratio=True)(data)
        assert out["gt_seg_map"].shape == out["img"].shape[:2] != (37, 53)
        assert set(np.unique(out["gt_seg_map"])) == {0, 80, 160, 240}

    @pytest.mark.parametrize(("scale", "shape"), [((60, 60), (40, 60)), ((30, 90), (30, 45)), ((90, 25), (25, 38))])
    def test_keep_ratio_fits_long_and_short_side(self, scale, shape):
        assert Resize(scale=scale, keep_ratio=True)(results())["img_shape"] == shape

    def test_lists_from_the_command_line(self):
        assert Resize(scale=[60, 40])(results())["img_shape"] == (40, 60)
        assert Resize(scale_factor=[2.0, 1.0])(results())["img_shape"] == (20, 60)

    def test_errors(self):
        with pytest.raises(ConfigError, match="neither scale nor scale_factor"):
            Resize()
        with pytest.raises(ConfigError, match="scale"):
            Resize(scale=(0, 10))

    @pytest.mark.parametrize("size", [(1, 500), (500, 1)])
    def test_a_side_that_would_vanish(self, size):
        assert Resize(scale=(250, 250), keep_ratio=True)(results(*size))["img"].size == 3 * 250
        with pytest.raises(DataError, match=r"one\.png: .* pixels, of which keep_ratio leaves .* within \(60, 40\)"):
            Resize(scale=(60, 40), keep_ratio=True)(results(*size) | {"img_path": "one.png"})
        with pytest.raises(DataError, match="the image: "):
            Resize(scale=(60, 40), keep_ratio=True)(results(*size) | {"img_path": None})


class TestRandomResize:
    def test_factor_from_the_numpy_stream(self):
        transform = RandomResize(scale=(60, 40), ratio_range=(0.5, 2.0), keep_ratio=True)
        for seed in range(5):
            np.random.seed(seed)
            factor = np.random.random_sample() * 1.5 + 0.5
            np.random.seed(seed)
            out = transform(results())
            assert out["scale"] == (int(60 * factor), int(40 * factor))
            assert out["gt_seg_map"].shape == out["img"].shape[:2] == out["img_shape"]

    def test_uses_our_resize_without_a_default_scope(self):
        assert type(RandomResize(scale=(6, 4), ratio_range=(1, 1)).resize) is Resize
        assert type(TRANSFORMS.build({"type": "RandomResize", "scale": (6, 4), "ratio_range": (1, 1)})) is RandomResize

    def test_between_two_scales(self):
        np.random.seed(0)
        transform = RandomResize(scale=[[30, 20], [60, 40]])
        shapes = {transform(results())["img_shape"] for _ in range(10)}
        assert len(shapes) > 3 and all(20 <= h <= 40 and 30 <= w <= 60 for h, w in shapes)

    def test_errors(self):
        with pytest.raises(ConfigError, match="ratio_range=None"):
            RandomResize(scale=(60, 40))
        with pytest.raises(TypeError, match="keep_ratoi"):
            RandomResize(scale=(60, 40), ratio_range=(1, 2), keep_ratoi=True)


class TestRandomFlip:
    @pytest.mark.parametrize(("direction", "axes"), [("horizontal", (1,)), ("vertical", (0,)), ("diagonal", (0, 1))])
    def test_directions(self, direction, axes):
        out = RandomFlip(prob=1.0, direction=direction)(results())
        for key in ("img", "gt_seg_map", "gt_edge_map"):
            assert (out[key] == np.flip(results()[key], axes)).all() and out[key].flags.c_contiguous
        assert out["flip"] is True and out["flip_direction"] == direction

    def test_never(self):
        out = RandomFlip(prob=0.0)(results())
        assert (out["img"] == results()["img"]).all() and out["flip"] is False and out["flip_direction"] is None

    def test_half(self):
        np.random.seed(0)
        flips = [RandomFlip(prob=0.5)(results())["flip"] for _ in range(60)]
        assert 15 < sum(flips) < 45

    def test_swapped_labels(self):
        out = RandomFlip(prob=1.0, swap_seg_labels=[(0, 1)])(results())
        wanted = np.array([1, 0, 2, 3], np.uint8)[results()["gt_seg_map"][:, ::-1]]
        assert (out["gt_seg_map"] == wanted).all()

    def test_many_channels(self):
        data = results()
        data["img"] = np.random.default_rng(0).integers(0, 255, (20, 30, 6), dtype=np.uint8)
        before = data["img"].copy()
        assert (RandomFlip(prob=1.0)(data)["img"] == before[:, ::-1]).all()


class TestRandomCrop:
    def test_image_and_maps_are_cut_alike(self):
        np.random.seed(0)
        out = RandomCrop((8, 12))(results())
        assert out["img"].shape == (8, 12, 3) and out["img_shape"] == (8, 12)
        assert (out["img"][..., 0] == out["gt_seg_map"]).all() and (out["img"][..., 1] == out["gt_edge_map"]).all()

    def test_window_larger_than_the_image(self):
        out = RandomCrop((64, 12))(results())
        assert out["img_shape"] == (20, 12)

    def test_every_place_is_reached(self):
        np.random.seed(0)
        tops = {RandomCrop((18, 30))(results())["img"][0, 0, 1] for _ in range(60)}
        assert tops == {0, 1, 2}

    @pytest.mark.parametrize("ignore", [255, 2])
    @pytest.mark.parametrize("classes", [1, 2, 4])
    def test_same_window_as_the_rule_written_out(self, classes, ignore):
        """At most ten more draws until two classes are there and none fills three quarters of the labelled pixels."""
        for seed in range(30):
            data = results(classes=classes, seed=seed)
            data["gt_seg_map"][:, : 3 * (seed % 10)] = 0
            np.random.seed(seed)
            for draw in range(11):
                top, left = np.random.randint(0, 20 - 6 + 1), np.random.randint(0, 30 - 9 + 1)
                if draw == 10:
                    break
                window = data["gt_seg_map"][top : top + 6, left : left + 9]
                pixels = [(window == c).sum() for c in range(classes) if c != ignore and (window == c).any()]
                if len(pixels) > 1 and max(pixels) / sum(pixels) < 0.75:
                    break
            after = np.random.rand()
            np.random.seed(seed)
            out = RandomCrop((6, 9), cat_max_ratio=0.75, ignore_index=ignore)(data)
            assert (out["img"][0, 0, 1:] == (top, left)).all()
            assert np.random.rand() == after

    def test_ignored_label_comes_from_the_data_set(self):
        data = results(20, 20)
        data["gt_seg_map"][:] = 7
        data["gt_seg_map"][:, 0] = 1
        data["ignore_index"] = 7  # then label 1 alone is left: ten windows are drawn again
        np.random.seed(0)
        RandomCrop((20, 19), cat_max_ratio=0.99)(dict(data))
        many = np.random.rand()
        np.random.seed(0)
        RandomCrop((20, 20), cat_max_ratio=0.99, ignore_index=255)(dict(data))
        assert np.random.rand() != many
        np.random.seed(0)
        for _ in range(11):
            np.random.randint(0, 1), np.random.randint(0, 2)
        assert np.random.rand() == many

    def test_errors(self):
        with pytest.raises(DataError, match="LoadAnnotations before it"):
            RandomCrop(8, cat_max_ratio=0.5)({"img": np.zeros((20, 20, 3), np.uint8)})
        for size in (0, (3, -1), (1, 2, 3), (1.5, 2)):
            with pytest.raises(ConfigError, match=r"\(height, width\)"):
                RandomCrop(size)
        with pytest.raises(ConfigError, match="cat_max_ratio=75"):
            RandomCrop(8, cat_max_ratio=75)


class TestPad:
    def test_image_with_zero_and_maps_with_the_ignored_label(self):
        out = Pad(size=(40, 24))({**results(), "ignore_index": 9})
        assert out["img"].shape == (24, 40, 3) and out["pad_shape"] == out["img_shape"] == (24, 40)
        assert (
            (out["img"][20:] == 0).all()
            and (out["gt_seg_map"][20:] == 9).all()
            and (out["gt_edge_map"][20:] == 9).all()
        )
        assert (out["gt_seg_map"][:20, :30] == results()["gt_seg_map"]).all()

    def test_given_values_and_divisor(self):
        out = Pad(size_divisor=16, pad_val={"img": 7, "seg": 3})(results())
        assert out["pad_shape"] == (32, 32) and (out["img"][25] == 7).all() and (out["gt_seg_map"][25] == 3).all()

    def test_square(self):
        assert Pad(pad_to_square=True, pad_val=5)(results())["pad_shape"] == (30, 30)

    def test_errors(self):
        with pytest.raises(ConfigError, match="give one of them"):
            Pad()
