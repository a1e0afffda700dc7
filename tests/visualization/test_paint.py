import numpy as np
import pytest
import torch

from gcseg.utils import ConfigError, DataError
from gcseg.visualization import generate_palette, label_regions, overlay, paint_panel
from gcseg.visualization.paint import ink_for

PALETTE = [[200, 0, 0], [0, 100, 50]]


def test_overlay_mixes_pixel_by_pixel():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    labels = rng.choice([0, 1, 255], (5, 7))
    mixed = overlay(image, labels, PALETTE, alpha=0.8)
    for y in range(5):
        for x in range(7):
            colour = PALETTE[labels[y, x]] if labels[y, x] < 2 else [0, 0, 0]
            expected = [int(a * (1 - 0.8) + b * 0.8) for a, b in zip(image[y, x].tolist(), colour, strict=True)]
            assert mixed[y, x].tolist() == expected


def test_overlay_ends_and_inputs():
    image = np.full((2, 2, 3), 77, np.uint8)
    labels = torch.tensor([[[0, 1], [1, 0]]])
    np.testing.assert_array_equal(overlay(image, labels, PALETTE, alpha=0), image)
    np.testing.assert_array_equal(overlay(image, labels, PALETTE, alpha=1), np.asarray(PALETTE)[labels[0].numpy()])
    assert image.max() == 77
    for alpha in (-0.1, 1.5, float("nan")):
        with pytest.raises(ConfigError, match=f"opacity={alpha}"):
            overlay(image, labels, PALETTE, alpha)
    with pytest.raises(DataError, match=r"\(1, 2\).*\(2, 2\)"):
        overlay(image, [[0, 1]], PALETTE)
    with pytest.raises(DataError, match=r"\(2, 2\)"):
        overlay(image[..., 0], labels, PALETTE)


def test_palette_is_pascals_and_distinct():
    from gcseg.utils import get_palette

    assert generate_palette(21) == get_palette("pascal_voc")
    assert len({tuple(c) for c in generate_palette(256)}) == 256


def test_name_is_written_inside_the_largest_region_of_its_class():
    labels = np.zeros((120, 200), int)
    labels[:, 100:] = 1
    labels[0, 0] = 1  # a speck of class 1 far away
    image = np.full((120, 200, 3), 9, np.uint8)
    named = label_regions(image, labels, ["a", "b"], PALETTE)
    left, right = (named[:, :100] != 9).any(-1), (named[:, 100:] != 9).any(-1)
    for half, colour in ((left, PALETTE[0]), (right, PALETTE[1])):
        ys, xs = np.nonzero(half)
        assert 30 < ys.mean() < 90
        assert 20 < xs.mean() < 80
        whole = named[:, :100] if half is left else named[:, 100:]
        assert (whole == colour).all(-1).any()
    assert (image == 9).all()


def test_unlabelled_pixels_and_foreign_classes_get_no_name():
    image = np.full((50, 50, 3), 9, np.uint8)
    np.testing.assert_array_equal(label_regions(image, np.full((50, 50), 255), ["a"], PALETTE), image)


def test_ink_contrasts():
    assert ink_for((255, 255, 0)) == (0, 0, 0)
    assert ink_for((0, 0, 142)) == (255, 255, 255)


def test_panel_holds_three_tiles_and_a_legend_of_what_occurs():
    image = np.full((60, 90, 3), 128, np.uint8)
    truth, pred = np.zeros((60, 90), int), np.ones((60, 90), int)
    both = paint_panel(image, truth, pred, classes=["a", "b", "c"], palette=[*PALETTE, [1, 2, 3]], alpha=1)
    assert both.shape[1] == 3 * 90 + 2 * 6
    row = both[40]
    assert row[45].tolist() == [128, 128, 128]
    assert row[96 + 45].tolist() == PALETTE[0]
    assert row[192 + 45].tolist() == PALETTE[1]
    legend = both[85:]
    for colour, expected in ((PALETTE[0], True), (PALETTE[1], True), ([1, 2, 3], False)):
        assert (legend == colour).all(-1).any() == expected
    alone = paint_panel(image, prediction=pred, classes=["a", "b"], palette=PALETTE)
    assert alone.shape[1] == 2 * 90 + 6


def test_panel_shrinks_wide_photographs_and_breaks_its_legend():
    image = np.zeros((100, 2000, 3), np.uint8)
    labels = np.arange(2000) // 14 * np.ones((100, 1), int)
    panel = paint_panel(
        image, labels, labels, classes=[f"class {i}" for i in range(150)], palette=generate_palette(150), max_width=900
    )
    assert panel.shape[1] <= 900
    assert panel.shape[0] > 200
    with pytest.raises(DataError):
        paint_panel(image, labels[:, :5], classes=["a"], palette=PALETTE)
