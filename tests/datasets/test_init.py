"""What the packages hand on."""

from __future__ import annotations

import subprocess
import sys

import pytest

import gcseg.datasets
import gcseg.datasets.transforms
from gcseg.registry import DATASETS, TRANSFORMS


@pytest.mark.parametrize(
    ("package", "registry"),
    [(gcseg.datasets, DATASETS), (gcseg.datasets.transforms, TRANSFORMS)],
    ids=["sets", "steps"],
)
def test_every_name_is_there_and_registered(package, registry):
    transforms = set(gcseg.datasets.transforms.__all__) if registry is DATASETS else set()
    names = set(package.__all__) - transforms
    assert len(names) >= 9 and transforms <= set(package.__all__)
    for name in names:
        assert registry.get(name) is getattr(package, name), name
        assert getattr(package, name).__doc__, name
    with pytest.raises(AttributeError, match="NoSuchThing"):
        _ = package.NoSuchThing


def test_transforms_are_also_found_where_mmsegmentation_has_them():
    from gcseg.datasets import PackSegInputs

    assert PackSegInputs is gcseg.datasets.transforms.PackSegInputs


def test_importing_the_packages_loads_nothing_heavy():
    code = "import sys, gcseg.datasets.transforms; print([m for m in ('torch', 'mmcv', 'cv2') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
