"""Range, contrast, grey and gamma, against their definitions."""

import numpy as np
import pytest

from gcseg.datasets.transforms import CLAHE, AdjustGamma, Rerange, RGB2Gray
from gcseg.utils.errors import ConfigError, DataError


def noisy(height=16, width=24, low=0, high=256):
    return dict(img=np.random.default_rng(3).integers(low, high, (height, width, 3), dtype=np.uint8))


class TestRerange:
    def test_ends_and_middle(self):
        img = np.array([[[10, 20, 30]]], np.uint8)
        assert Rerange(-1, 1)(dict(img=img))["img"].tolist() == [[[-1, 0, 1]]]
        assert Rerange()(dict(img=img))["img"].tolist() == [[[0, 127.5, 255]]]

    def test_flat_image_is_named(self):
        with pytest.raises(DataError, match=r"a\.png are 7"):
            Rerange()(dict(img=np.full((2, 2, 3), 7), img_path="a.png"))

    def test_wrong_range(self):
        with pytest.raises(ConfigError, match="min_value=3"):
            Rerange(3, 3)


class TestCLAHE:
    def test_one_tile_without_limit_is_histogram_equalisation(self):
        """With one tile and a limit that is never met: the cumulative histogram, scaled to 255."""
        img = noisy(low=100, high=140)["img"]
        out = CLAHE(clip_limit=1e4, tile_grid_size=(1, 1))(dict(img=img.copy()))["img"]
        for c in range(3):
            below = np.array([(img[..., c] <= value).sum() for value in range(256)])
            expected = np.rint(below * 255 / img[..., c].size)[img[..., c]]
            assert abs(out[..., c] - expected).max() <= 1
        assert out.std() > 3 * img.std() and out.dtype == np.uint8

    def test_limit_and_tiles_matter(self):
        img = noisy(64, 64, 100, 120)["img"]
        results = [
            CLAHE(limit, tiles)(dict(img=img.copy()))["img"]
            for limit, tiles in ((40, (8, 8)), (1, (8, 8)), (40, (2, 4)))
        ]
        assert results[1].std() < results[0].std()
        assert not np.array_equal(results[0], results[2])

    @pytest.mark.parametrize("options", [dict(clip_limit="2"), dict(tile_grid_size=(8,)), dict(tile_grid_size=(0, 8))])
    def test_wrong_options(self, options):
        with pytest.raises(ConfigError, match="CLAHE"):
            CLAHE(**options)


class TestRGB2Gray:
    def test_weighted_sum(self):
        img = np.array([[[100, 50, 10], [0, 0, 255]]], np.uint8)
        out = RGB2Gray()(dict(img=img))
        assert np.allclose(out["img"], [[[60.39] * 3, [29.07] * 3]])
        assert out["img_shape"] == (1, 2)
        assert RGB2Gray(out_channels=1, weights=(0, 0, 1))(dict(img=img))["img"].tolist() == [[[10], [255]]]

    def test_wrong_number_of_channels(self):
        with pytest.raises(DataError, match=r"shape \(2, 2, 4\) but there are 3 weights"):
            RGB2Gray()(dict(img=np.zeros((2, 2, 4))))

    @pytest.mark.parametrize("options", [dict(out_channels=0), dict(weights=1.0), dict(weights=("a", 1, 1))])
    def test_wrong_options(self, options):
        with pytest.raises(ConfigError, match="RGB2Gray"):
            RGB2Gray(**options)


class TestAdjustGamma:
    @pytest.mark.parametrize("gamma", [0.4, 1.0, 2.2])
    def test_every_value(self, gamma):
        values = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
        out = AdjustGamma(gamma)(dict(img=values))["img"]
        exact = 255 * (values / 255) ** (1 / gamma)
        assert (abs(out - exact) < 1).all() and (out <= exact + 1e-9).all()
        assert np.sign(out.mean() - values.mean()) == np.sign(round(gamma - 1, 3)) or abs(gamma - 1) < 1e-9

    @pytest.mark.parametrize("gamma", [0, -1, "2", True])
    def test_wrong_gamma(self, gamma):
        with pytest.raises(ConfigError, match="AdjustGamma"):
            AdjustGamma(gamma)
