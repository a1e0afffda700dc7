"""Cut-out, mosaic and edges, against drawn expectations and loops over pixels."""

import numpy as np
import pytest

from gcseg.datasets import MultiImageMixDataset
from gcseg.datasets.transforms import GenerateEdge, RandomCutOut, RandomMosaic
from gcseg.utils.errors import ConfigError, DataError


def flat(value, height=8, width=8):
    """An image and a label map of one value."""
    return dict(
        img=np.full((height, width, 3), value, np.uint8),
        gt_seg_map=np.full((height, width), value, np.uint8),
        seg_fields=["gt_seg_map"],
    )


class TestRandomCutOut:
    def test_rectangle(self, monkeypatch):
        transform = RandomCutOut(1.0, 1, cutout_shape=(3, 2), fill_in=(1, 2, 3), seg_fill_in=255)
        monkeypatch.setattr(transform, "generate_holes", lambda h, w: [(2, 1, 5, 3)])
        out = transform(flat(9, 4, 6))
        expected = np.full((4, 6), 9)
        expected[1:3, 2:5] = 255
        assert out["gt_seg_map"].tolist() == expected.tolist()
        assert out["img"][expected == 255].tolist() == [[1, 2, 3]] * 6 and (out["img"][expected == 9] == 9).all()

    def test_holes_lie_inside_and_vary(self):
        np.random.seed(0)
        transform = RandomCutOut(0.5, (1, 3), cutout_shape=[(4, 2), (30, 30)])
        draws = [transform.generate_holes(10, 12) for _ in range(200)]
        assert 0.4 < np.mean([len(d) > 0 for d in draws]) < 0.6
        assert {len(d) for d in draws} == {0, 1, 2, 3}
        for left, top, right, bottom in (hole for d in draws for hole in d):
            assert 0 <= left < right <= 12 and 0 <= top < bottom <= 10
            small = (right == min(left + 4, 12)) and (bottom == min(top + 2, 10))
            assert small or (right == 12 and bottom == 10)

    def test_ratio_of_width_and_height(self):
        np.random.seed(0)
        transform = RandomCutOut(1, 1, cutout_ratio=(0.5, 0.1))
        holes = [hole for _ in range(50) for hole in transform.generate_holes(40, 20)]
        assert max(r - left for left, _, r, _ in holes) == 10 and max(b - t for _, t, _, b in holes) == 4

    def test_labels_stay_unless_told(self):
        out = RandomCutOut(1, 4, cutout_shape=(5, 5))(flat(9))
        assert (out["gt_seg_map"] == 9).all() and (out["img"] == 0).any()

    @pytest.mark.parametrize(
        "options",
        [
            dict(prob=1.5, n_holes=1, cutout_shape=(1, 1)),
            dict(prob=1, n_holes=(3, 1), cutout_shape=(1, 1)),
            dict(prob=1, n_holes=1),
            dict(prob=1, n_holes=1, cutout_shape=(1, 1), cutout_ratio=(1, 1)),
            dict(prob=1, n_holes=1, cutout_shape=4),
            dict(prob=1, n_holes=1, cutout_shape=(1, 1), seg_fill_in=300),
        ],
    )
    def test_wrong_options(self, options):
        with pytest.raises(ConfigError, match="RandomCutOut"):
            RandomCutOut(**options)


class TestRandomMosaic:
    def test_four_quarters(self, monkeypatch):
        """8x8 images, quarters of 4x4, centre at x=5, y=3: each part shrinks to 4x4 and is cut at the canvas."""
        transform = RandomMosaic(1.0, img_scale=(4, 4), pad_val=0, seg_pad_val=255)
        monkeypatch.setattr(transform, "generate_mosaic_center", lambda: (5, 3))
        out = transform({**flat(1), "mix_results": [flat(2), flat(3), flat(4)]})
        p = 255
        expected = [
            [p, 1, 1, 1, 1, 2, 2, 2],
            [p, 1, 1, 1, 1, 2, 2, 2],
            [p, 1, 1, 1, 1, 2, 2, 2],
            [p, 3, 3, 3, 3, 4, 4, 4],
            [p, 3, 3, 3, 3, 4, 4, 4],
            [p, 3, 3, 3, 3, 4, 4, 4],
            [p, 3, 3, 3, 3, 4, 4, 4],
            [p, p, p, p, p, p, p, p],
        ]
        assert out["gt_seg_map"].tolist() == expected
        assert out["img"][..., 1].tolist() == [[0 if v == p else v for v in row] for row in expected]
        assert out["img_shape"] == out["ori_shape"] == (8, 8)

    def test_the_corner_that_touches_the_centre_is_kept(self, monkeypatch):
        transform = RandomMosaic(1.0, img_scale=(4, 4))
        monkeypatch.setattr(transform, "generate_mosaic_center", lambda: (2, 2))
        corner = flat(0, 4, 4)
        corner["gt_seg_map"] = np.arange(16, dtype=np.uint8).reshape(4, 4)
        out = transform({**corner, "mix_results": [flat(30), flat(30), corner]})
        assert out["gt_seg_map"][:2, :2].tolist() == [[10, 11], [14, 15]]
        assert out["gt_seg_map"][2:6, 2:6].tolist() == corner["gt_seg_map"].tolist()

    def test_ratio_is_kept(self, monkeypatch):
        transform = RandomMosaic(1.0, img_scale=(4, 4))
        monkeypatch.setattr(transform, "generate_mosaic_center", lambda: (4, 4))
        out = transform({**flat(1, 4, 8), "mix_results": [flat(2), flat(3, 8, 4), flat(4)]})
        counts = dict(zip(*np.unique(out["gt_seg_map"], return_counts=True), strict=True))
        assert counts == {1: 8, 2: 16, 3: 8, 4: 16, 255: 16}

    def test_centre_and_chance(self):
        np.random.seed(0)
        transform = RandomMosaic(0.25, img_scale=(10, 20), center_ratio_range=(0.5, 1.5))
        centres = np.array([transform.generate_mosaic_center() for _ in range(300)])
        assert centres.min(0).tolist() == [10, 5] and centres.max(0).tolist() == [29, 14]
        assert 0.18 < np.mean([transform.do_mosaic() for _ in range(400)]) < 0.32

    def test_in_a_data_set(self):
        class Flats:
            metainfo = {}

            def full_init(self): ...

            def __len__(self):
                return 6

            def __getitem__(self, index):
                return flat(index + 1)

        np.random.seed(0)
        mixed = MultiImageMixDataset(Flats(), [dict(type="RandomMosaic", prob=1.0, img_scale=(8, 8))])
        out = mixed[4]
        assert out["img"].shape == (16, 16, 3) and "mix_results" not in out
        assert 5 in out["gt_seg_map"] and set(np.unique(out["gt_seg_map"])) <= {1, 2, 3, 4, 5, 6, 255}
        indices = [i for _ in range(50) for i in RandomMosaic(1.0).get_indices(Flats())]
        assert set(indices) == set(range(6))

    def test_alone(self):
        assert RandomMosaic(0.0)(flat(3))["img"].shape == (8, 8, 3)
        with pytest.raises(DataError, match="MultiImageMixDataset"):
            RandomMosaic(1.0)(flat(3))

    @pytest.mark.parametrize(
        "options", [dict(prob=-1), dict(prob=1, img_scale=(0, 4)), dict(prob=1, center_ratio_range=(2, 3))]
    )
    def test_wrong_options(self, options):
        with pytest.raises(ConfigError, match="RandomMosaic"):
            RandomMosaic(**options)


def edges_by_hand(label, ignore, width):
    """Slow definition: a border is marked on the lower, the left, the upper left or the upper right of two pixels."""
    h, w = label.shape
    edge = np.zeros((h, w), np.uint8)
    for y in range(h):
        for x in range(w):
            for dy, dx in ((-1, 0), (0, 1), (1, 1), (1, -1)):
                if 0 <= y + dy < h and 0 <= x + dx < w:
                    a, b = label[y, x], label[y + dy, x + dx]
                    if a != b and ignore not in (a, b):
                        edge[y, x] = 1
    before, after = width // 2, width - width // 2 - 1
    thick = np.zeros_like(edge)
    for y in range(h):
        for x in range(w):
            thick[y, x] = edge[max(y - before, 0) : y + after + 1, max(x - before, 0) : x + after + 1].max()
    return thick


class TestGenerateEdge:
    @pytest.mark.parametrize(("width", "ignore"), [(1, 255), (3, 255), (5, 2), (4, 255)])
    def test_against_loops(self, width, ignore):
        label = np.random.default_rng(width).integers(0, 3, (9, 11), dtype=np.uint8)
        label[2:5, 3:9], label[0, :4] = 1, 255
        out = GenerateEdge(width, ignore)(dict(gt_seg_map=label))
        assert out["gt_edge_map"].tolist() == edges_by_hand(label, ignore, width).tolist()
        assert out["edge_width"] == width and out["gt_edge_map"].dtype == np.uint8

    def test_drawn(self):
        label = np.array([[0, 0, 1], [0, 0, 1], [0, 0, 1]], np.uint8)
        assert GenerateEdge(1)(dict(gt_seg_map=label))["gt_edge_map"].tolist() == [[0, 1, 1], [0, 1, 1], [0, 1, 0]]

    def test_packed(self):
        from gcseg.datasets.transforms import PackSegInputs

        data = flat(1)
        data["gt_seg_map"][:4] = 2
        packed = PackSegInputs(meta_keys=())(GenerateEdge()(data))
        assert packed["data_samples"].gt_edge_map.data.shape == (1, 8, 8)

    def test_wrong_width(self):
        with pytest.raises(ConfigError, match="edge_width=0"):
            GenerateEdge(0)
