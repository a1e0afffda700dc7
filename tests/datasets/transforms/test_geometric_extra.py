"""Resizing, rotating and rescaling beyond the recipes, against drawn expectations and slow definitions."""

import numpy as np
import pytest

from gcseg.datasets.transforms import RandomChoiceResize, RandomRotate, ResizeShortestEdge, ResizeToMultiple, SegRescale
from gcseg.registry import TRANSFORMS
from gcseg.utils.errors import ConfigError


def sample(height=20, width=30, labels=None):
    rng = np.random.default_rng(height * 100 + width)
    img = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    seg = rng.integers(0, 5, (height, width), dtype=np.uint8) if labels is None else np.asarray(labels, np.uint8)
    return dict(
        img=img, gt_seg_map=seg, seg_fields=["gt_seg_map"], img_shape=(height, width), ori_shape=(height, width)
    )


class TestResizeToMultiple:
    @pytest.mark.parametrize(("size", "expected"), [((20, 30), (32, 32)), ((32, 64), (32, 64)), ((33, 1), (64, 32))])
    def test_next_multiple(self, size, expected):
        out = ResizeToMultiple()(sample(*size))
        assert out["img"].shape[:2] == out["gt_seg_map"].shape == out["img_shape"] == out["pad_shape"] == expected
        assert out["ori_shape"] == size

    def test_width_first_and_nearest_labels(self):
        seg = [[1, 2], [3, 4]]
        out = ResizeToMultiple(size_divisor=(4, 2))(sample(2, 2, seg))
        assert out["gt_seg_map"].tolist() == [[1, 1, 2, 2], [3, 3, 4, 4]]

    def test_bilinear_unless_told(self):
        data = sample(2, 2)
        data["img"][:] = [[[0] * 3, [100] * 3]] * 2
        smooth = ResizeToMultiple(4)(dict(data))["img"][0, :, 0].tolist()
        assert smooth == [0, 25, 75, 100]
        hard = ResizeToMultiple(4, interpolation="nearest")(dict(data))["img"][0, :, 0].tolist()
        assert hard == [0, 0, 100, 100]

    def test_wrong_divisor(self):
        with pytest.raises(ConfigError, match="size_divisor=0"):
            ResizeToMultiple(0)


class TestResizeShortestEdge:
    @pytest.mark.parametrize(
        ("size", "scale", "most", "expected"),
        [
            ((20, 30), 40, 1000, (40, 60)),
            ((30, 20), 40, 1000, (60, 40)),
            ((20, 30), 40, 45, (30, 45)),
            ((20, 20), 7, 100, (7, 7)),
            ((20, 30), (90, 10), 100, (10, 15)),
            ((20, 25), 10, 100, (10, 13)),  # 12.5 is rounded up
        ],
    )
    def test_size(self, size, scale, most, expected):
        out = ResizeShortestEdge(scale, most)(sample(*size))
        assert out["img"].shape[:2] == out["gt_seg_map"].shape == out["img_shape"] == expected
        assert out["scale"] == expected[::-1]

    def test_wrong_numbers(self):
        with pytest.raises(ConfigError, match="max_size=0"):
            ResizeShortestEdge(10, 0)


class TestRandomChoiceResize:
    def test_all_sizes_come_up_and_are_named(self):
        transform = RandomChoiceResize([(30, 20), (60, 40), (15, 10)], keep_ratio=True)
        np.random.seed(0)
        seen = set()
        for _ in range(30):
            out = transform(sample())
            assert out["img_shape"] == out["gt_seg_map"].shape == ((20, 30), (40, 60), (10, 15))[out["scale_idx"]]
            seen.add(out["scale_idx"])
        assert seen == {0, 1, 2}

    def test_other_resize(self):
        transform = TRANSFORMS.build(
            dict(type="RandomChoiceResize", scales=[10], resize_type="ResizeShortestEdge", max_size=12)
        )
        assert transform(sample())["img_shape"] == (8, 12)

    @pytest.mark.parametrize("scales", [[], [(0, 4)], [(1, 2, 3)]])
    def test_wrong_scales(self, scales):
        with pytest.raises(ConfigError, match="RandomChoiceResize"):
            RandomChoiceResize(scales)


class TestRandomRotate:
    def test_a_quarter_turn_is_clockwise(self):
        seg = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
        data = sample(3, 3, seg)
        img = data["img"].copy()
        out = RandomRotate(1.0, (90, 90))(data)
        assert out["gt_seg_map"].tolist() == [[7, 4, 1], [8, 5, 2], [9, 6, 3]]
        assert np.array_equal(out["img"], np.rot90(img, -1))

    def test_corners_are_filled(self):
        data = sample(21, 21, np.zeros((21, 21)))
        data["img"][:] = 200
        out = RandomRotate(1.0, (45, 45), pad_val=7, seg_pad_val=9)(data)
        corners = [(0, 0), (0, 20), (20, 0), (20, 20)]
        assert [out["gt_seg_map"][c] for c in corners] == [9] * 4 and out["gt_seg_map"][10, 10] == 0
        assert [out["img"][c].tolist() for c in corners] == [[7] * 3] * 4

    def test_auto_bound_cuts_nothing_off_and_says_the_new_size(self):
        data = sample(10, 30, np.ones((10, 30)))
        out = RandomRotate(1.0, (90, 90), auto_bound=True)(data)
        assert out["img"].shape[:2] == out["img_shape"] == out["gt_seg_map"].shape == (30, 10)
        assert (out["gt_seg_map"] == 1).all()

    def test_how_often_and_how_far(self):
        np.random.seed(1)
        transform = RandomRotate(0.3, 20)
        draws = [transform.generate_degree() for _ in range(400)]
        angles = [angle for _, angle in draws]
        assert 0.22 < np.mean([rotate for rotate, _ in draws]) < 0.38
        assert -20 <= min(angles) < -15 and 15 < max(angles) <= 20

    def test_never(self):
        data = sample()
        before = data["img"].copy()
        assert np.array_equal(RandomRotate(0.0, 90)(data)["img"], before)

    @pytest.mark.parametrize(
        "options",
        [
            dict(prob=2, degree=1),
            dict(prob=1, degree=-1),
            dict(prob=1, degree=(1, 2, 3)),
            dict(prob=1, degree=1, center=(0, 0), auto_bound=True),
        ],
    )
    def test_wrong_options(self, options):
        with pytest.raises(ConfigError, match="RandomRotate"):
            RandomRotate(**options)


class TestSegRescale:
    def test_labels_alone(self):
        data = sample(4, 4, [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]])
        out = SegRescale(1 / 2)(data)
        assert out["gt_seg_map"].tolist() == [[1, 2], [3, 4]]
        assert out["img"].shape == (4, 4, 3)

    def test_larger_and_unchanged(self):
        assert SegRescale(2)(sample(2, 2, [[1, 2], [3, 4]]))["gt_seg_map"].tolist() == [
            [1, 1, 2, 2],
            [1, 1, 2, 2],
            [3, 3, 4, 4],
            [3, 3, 4, 4],
        ]
        assert SegRescale()(sample(2, 2, [[1, 2], [3, 4]]))["gt_seg_map"].tolist() == [[1, 2], [3, 4]]

    def test_wrong_factor(self):
        with pytest.raises(ConfigError, match="scale_factor=0"):
            SegRescale(0)
