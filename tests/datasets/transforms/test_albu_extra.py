"""Albu with a stand-in for albumentations: what is handed over, and what comes back."""

import sys
from types import ModuleType

import numpy as np
import pytest

from gcseg.datasets.transforms import Albu
from gcseg.utils.errors import ConfigError


class Compose:
    def __init__(self, transforms, additional_targets=None):
        self.transforms, self.additional_targets = transforms, additional_targets

    def __call__(self, **targets):
        self.seen = {key: value.copy() for key, value in targets.items()}
        for transform in self.transforms:
            targets = transform(**targets)
        return targets


class Mirror:
    """Mirrors images and masks, and adds to the first channel of images."""

    def __init__(self, add=0, transforms=()):
        self.add, self.transforms = add, transforms

    def __call__(self, **targets):
        for key, value in targets.items():
            targets[key] = value[:, ::-1].copy()
            if value.ndim == 3:
                targets[key][..., 0] += self.add
        return targets


@pytest.fixture(autouse=True)
def package(monkeypatch):
    module = ModuleType("albumentations")
    module.Compose, module.Mirror = Compose, Mirror
    monkeypatch.setitem(sys.modules, "albumentations", module)


def sample():
    img = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    seg = np.arange(8, dtype=np.uint8).reshape(2, 4)
    return dict(img=img, gt_seg_map=seg, seg_fields=["gt_seg_map"], img_path="a.png", ignore_index=255)


def test_image_and_map_move_together_in_rgb():
    transform = Albu([dict(type="Mirror", add=100)])
    out = transform(sample())
    assert set(transform.aug.seen) == {"image", "mask"}
    assert np.array_equal(transform.aug.seen["image"], sample()["img"][..., ::-1])
    expected = sample()["img"][:, ::-1].copy()
    expected[..., 2] += 100  # the first channel of RGB is the last of BGR
    assert np.array_equal(out["img"], expected)
    assert np.array_equal(out["gt_seg_map"], sample()["gt_seg_map"][:, ::-1])
    assert out["img_path"] == "a.png" and out["img_shape"] == (2, 4) and "pad_shape" not in out


def test_options():
    transform = Albu(
        [dict(type=Mirror, add=100)],
        additional_targets={"second": "image"},
        update_pad_shape=True,
        bgr_to_rgb=False,
    )
    out = transform({**sample(), "second": sample()["img"]})
    assert np.array_equal(out["img"][..., 0], sample()["img"][:, ::-1, 0] + 100)
    assert np.array_equal(out["second"], out["img"]) and out["pad_shape"] == (2, 4)


def test_nested_transforms_are_built():
    nested = Albu([dict(type="Mirror", transforms=[dict(type="Mirror", add=3)])]).aug.transforms[0]
    assert isinstance(nested.transforms[0], Mirror) and nested.transforms[0].add == 3


@pytest.mark.parametrize(
    ("transforms", "message"),
    [([dict(type="Miror")], "'Miror'.*'Mirror'"), ([dict(add=1)], "is no transform"), ([dict(type=3)], "type=3")],
)
def test_wrong_transforms(transforms, message):
    with pytest.raises(ConfigError, match=message):
        Albu(transforms)


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "albumentations", None)
    with pytest.raises(ConfigError, match="pip install albumentations"):
        Albu([dict(type="Mirror")])
