"""Colour distortion against the formula written out in float, with numbers drawn in the same order."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from gcseg.datasets.transforms import PhotoMetricDistortion
from gcseg.utils import ConfigError, DataError


def slow(img, brightness=32, contrast=(0.5, 1.5), saturation=(0.5, 1.5), hue=18):
    """Each step on the whole float image; SSD's augmentation as mmsegmentation draws it."""

    def clipped(x):
        return np.clip(x, 0, 255).astype(np.uint8)

    def change_contrast(x):
        if np.random.randint(2):
            x = clipped(x.astype(np.float32) * np.random.uniform(*contrast))
        return x

    if np.random.randint(2):
        img = clipped(img.astype(np.float32) + np.random.uniform(-brightness, brightness))
    early = np.random.randint(2) == 1
    if early:
        img = change_contrast(img)
    if np.random.randint(2):
        hsv = cv2.cvtColor(img, cv2.COLOR_BGR2HSV)
        hsv[..., 1] = clipped(hsv[..., 1].astype(np.float32) * np.random.uniform(*saturation))
        img = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
    if np.random.randint(2):
        hsv = cv2.cvtColor(img, cv2.COLOR_BGR2HSV)
        hsv[..., 0] = (hsv[..., 0].astype(int) + np.random.randint(-hue, hue)) % 180
        img = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
    return img if early else change_contrast(img)


@pytest.fixture
def img():
    return np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "options", [{}, {"brightness_delta": 90, "contrast_range": (0.1, 3.0), "saturation_range": (0, 2), "hue_delta": 90}]
)
def test_same_bytes_and_same_random_stream(img, options):
    names = {"brightness_delta": "brightness", "contrast_range": "contrast", "saturation_range": "saturation"}
    changed = 0
    for seed in range(40):
        np.random.seed(seed)
        wanted = slow(img, **{names.get(key, "hue"): value for key, value in options.items()})
        after = np.random.rand()
        np.random.seed(seed)
        got = PhotoMetricDistortion(**options)({"img": img.copy()})["img"]
        assert (got == wanted).all() and np.random.rand() == after
        changed += int((got != img).any())
    assert 30 < changed < 40  # all four are off once in 16 times


def test_the_input_is_not_written_to(img):
    before = img.copy()
    np.random.seed(1)
    PhotoMetricDistortion()({"img": img})
    assert (img == before).all()


def test_a_view_is_as_good_as_a_copy(img):
    for seed in range(6):
        results = []
        for view in (img[3:20, 5:30][:, ::-1], np.ascontiguousarray(img[3:20, 5:30][:, ::-1])):
            np.random.seed(seed)
            results.append(PhotoMetricDistortion()({"img": view})["img"])
        assert (results[0] == results[1]).all()


def test_nothing_to_do_does_nothing(img):
    options = {"brightness_delta": 0, "contrast_range": (1, 1), "hue_delta": 0}
    for seed in range(8):
        np.random.seed(seed)
        transform = PhotoMetricDistortion(**options)
        transform.saturation = lambda x: x  # the way to HSV and back is not exact
        assert (transform({"img": img})["img"] == img).all()


def test_errors(img):
    with pytest.raises(DataError, match=r"float32.*leave out to_float32"):
        PhotoMetricDistortion()({"img": img.astype(np.float32)})
    with pytest.raises(ConfigError, match="contrast_range"):
        PhotoMetricDistortion(contrast_range=(2, 1))
    with pytest.raises(ConfigError, match="hue_delta=500"):
        PhotoMetricDistortion(hue_delta=500)


def test_brightness_and_contrast_are_computed_and_not_looked_up(monkeypatch):
    img = np.random.default_rng(1).integers(0, 256, (64, 67, 3), dtype=np.uint8)
    transform = PhotoMetricDistortion(brightness_delta=120, contrast_range=(0, 4))
    looked_up = []
    look_up = cv2.LUT
    monkeypatch.setattr(cv2, "LUT", lambda x, table: looked_up.append(x.size) or look_up(x, table))
    for seed in range(60):
        np.random.seed(seed)
        got = transform.contrast(transform.brightness(img))
        np.random.seed(seed)
        wanted = img
        if np.random.randint(2):
            wanted = np.clip(wanted.astype(np.float32) + np.random.uniform(-120, 120), 0, 255).astype(np.uint8)
        if np.random.randint(2):
            wanted = np.clip(wanted.astype(np.float32) * np.random.uniform(0, 4), 0, 255).astype(np.uint8)
        assert (got == wanted).all()
    assert len(looked_up) < 10  # products that are nearly whole numbers


@pytest.mark.parametrize("factor", [0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 1 / 3, 0.1, 254 / 255])
def test_whole_products_are_cut_off_and_not_rounded(factor):
    img = np.arange(256, dtype=np.uint8).repeat(9).reshape(48, 16, 3)
    np.random.seed(1)  # the first lot is 1: contrast is changed
    got = PhotoMetricDistortion(contrast_range=(factor, factor)).contrast(img)
    assert (got == np.clip(img.astype(np.float32) * factor, 0, 255).astype(np.uint8)).all()
