import numpy as np
import pytest

from gcseg.utils import DataError
from gcseg.visualization import AttentionTile, paint_attention
from gcseg.visualization.attention import _GAP, _MARK, heat

PHOTO = np.random.default_rng(0).integers(0, 256, (64, 128, 3), dtype=np.uint8)


def bump(y, x, shape=(8, 16)):
    weights = np.full(shape, 0.01, np.float32)
    weights[y, x] = 1
    return weights


def test_heat_is_brightest_where_the_weight_is():
    glow = heat(np.zeros((64, 128, 3), np.uint8), bump(2, 11)).sum(-1)
    y, x = np.unravel_index(glow.argmax(), glow.shape)
    assert 2 * 8 <= y < 3 * 8 and 11 * 8 <= x < 12 * 8
    assert glow[2 * 8 + 4, 11 * 8 + 4] > 300 and glow[60, 4] < 40


def test_heat_has_the_scale_of_its_map_and_shows_the_photograph():
    np.testing.assert_array_equal(heat(PHOTO, bump(2, 3)), heat(PHOTO, 7 * bump(2, 3)))
    dark = heat(PHOTO, np.zeros((8, 16)))
    assert np.corrcoef(dark.sum(-1).ravel(), (PHOTO @ [0.299, 0.587, 0.114]).ravel())[0, 1] > 0.99


@pytest.mark.parametrize("weights", [np.zeros(3), np.full((2, 2), -1.0), np.full((2, 2), np.nan)])
def test_what_is_no_map(weights):
    with pytest.raises(DataError, match="not negative"):
        heat(PHOTO, weights)


def test_the_sheet_has_a_tile_for_each_map_and_a_mark_for_each_query():
    tiles = [
        AttentionTile("query 1", bump(1, 2), (6, 3)),
        AttentionTile("mean", bump(4, 4)),
        AttentionTile("query 2", bump(2, 9), (1, 14)),
    ]
    sheet = paint_attention(PHOTO, tiles, columns=3, tile_width=128)
    line = 9 + 8
    assert sheet.shape == (2 * (line + 64 + _GAP) - _GAP, 3 * (128 + _GAP) - _GAP, 3)
    corners = [(line, column * (128 + _GAP)) for column in range(3)] + [(2 * line + 64 + _GAP, 0)]
    shown = [sheet[top : top + 64, left : left + 128] for top, left in corners]
    marks = [{0: (6, 3), 1: (1, 14)}, {0: (6, 3)}, {}, {1: (1, 14)}]
    pictures = [PHOTO, *(heat(PHOTO, tile.weights) for tile in tiles)]
    for part, picture, marked in zip(shown, pictures, marks, strict=True):
        changed = (part != picture).any(-1)
        for y, x in marked.values():
            around = (slice(max(0, y * 8 - 4), y * 8 + 12), slice(max(0, x * 8 - 4), x * 8 + 12))
            assert (part[around] == _MARK).all(-1).sum() > 20
            changed[around] = False
        assert not changed.any()
    assert (sheet[line + 64 : line + 64 + _GAP] == 255).all()
    assert (sheet[:line] < 128).any(), "titles"


def test_a_query_outside_its_map():
    with pytest.raises(DataError, match=r"\(8, 0\).*8 x 16"):
        paint_attention(PHOTO, [AttentionTile("", bump(0, 0), (8, 0))])
