"""The transforms beyond the recipes: same random draws, same pixels."""

import copy

import numpy as np
import pytest
from parity_tools import pair

CASES = [
    dict(type="ResizeToMultiple"),
    dict(type="ResizeToMultiple", size_divisor=13, interpolation="area"),
    dict(type="ResizeShortestEdge", scale=40, max_size=1000),
    dict(type="ResizeShortestEdge", scale=(400, 37), max_size=45),
    dict(type="RandomChoiceResize", scales=[(64, 32), (30, 90), 50], keep_ratio=True),
    dict(type="RandomChoiceResize", scales=[30, 50, 70], resize_type="ResizeShortestEdge", max_size=80),
    dict(type="Rerange"),
    dict(type="Rerange", min_value=-1, max_value=2.5),
    dict(type="CLAHE"),
    dict(type="CLAHE", clip_limit=2, tile_grid_size=(3, 5)),
    dict(type="RandomRotate", prob=0.5, degree=10),
    dict(type="RandomRotate", prob=1.0, degree=(20.0, 40.0), seg_pad_val=9, auto_bound=True),
    dict(type="RandomRotate", prob=1.0, degree=30, center=(3, 4)),
    dict(type="RGB2Gray"),
    dict(type="RGB2Gray", out_channels=1, weights=(0.1, 0.2, 0.9)),
    dict(type="AdjustGamma"),
    dict(type="AdjustGamma", gamma=1.7),
    dict(type="AdjustGamma", gamma=0.4),
    dict(type="SegRescale"),
    dict(type="SegRescale", scale_factor=1 / 8),
    dict(type="RandomCutOut", prob=0.7, n_holes=(1, 4), cutout_shape=[(5, 9), (20, 30)], seg_fill_in=255),
    dict(type="RandomCutOut", prob=1, n_holes=3, cutout_ratio=(0.2, 0.3), fill_in=(1, 2, 3)),
    dict(type="RandomMosaic", prob=0.8, img_scale=(40, 60)),
    dict(type="RandomMosaic", prob=1, img_scale=(33, 21), center_ratio_range=(0.2, 1.9), pad_val=9, seg_pad_val=3),
    dict(type="GenerateEdge"),
    dict(type="GenerateEdge", edge_width=4, ignore_index=3),
]
# mmsegmentation leaves the old size behind after auto_bound, and writes (H, W, C) after mosaics and RGB2Gray.
MENDED = {"img_shape", "ori_shape"}


def sample(rng, height, width):
    """A noisy image with a blocky label map, some of it ignored."""
    blocks = rng.integers(0, 19, (height // 4 + 1, width // 4 + 1), dtype=np.uint8)
    label = blocks.repeat(4, 0).repeat(4, 1)[:height, :width].copy()
    label[:5, :7] = 255
    img = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    shape = (height, width)
    return dict(img=img, gt_seg_map=label, seg_fields=["gt_seg_map"], img_shape=shape, ori_shape=shape, img_path="x")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['type']}-{len(case)}")
def test_same_pixels_and_same_draws(case):
    ours, theirs = pair(case, "TRANSFORMS")
    assert type(theirs).__module__.startswith(("mmseg", "mmcv")) and type(ours).__module__.startswith("gcseg")
    rng = np.random.default_rng(0)
    for seed, size in enumerate([(48, 64), (61, 37), (50, 50), (33, 97)] * 2):
        data = sample(rng, *size)
        if case["type"] == "RandomMosaic":
            data["mix_results"] = [sample(rng, *other) for other in ((20, 70), (80, 30), (45, 61))]
        np.random.seed(seed)
        expected = theirs(copy.deepcopy(data))
        next_draw = np.random.rand()
        np.random.seed(seed)
        received = ours(copy.deepcopy(data))
        assert np.random.rand() == next_draw
        assert expected.keys() == received.keys()
        for key in expected.keys() - MENDED - {"mix_results"}:
            assert np.array_equal(expected[key], received[key]), key
            assert getattr(expected[key], "dtype", None) == getattr(received[key], "dtype", None), key
