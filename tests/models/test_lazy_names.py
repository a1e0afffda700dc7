from importlib import import_module

import pytest

import gcseg.models


def test_every_public_name_is_the_object_of_its_home():
    for home, names in gcseg.models._NAMES.items():
        for name in names:
            assert getattr(gcseg.models, name) is getattr(import_module(f"gcseg.models.{home}"), name)


def test_unknown_name():
    with pytest.raises(AttributeError, match="PSPHead"):
        gcseg.models.PSPHead  # noqa: B018


@pytest.mark.parametrize("name", ["ContextBlock", "NonLocal2d", "ResNetV1c", "GCHead", "SegDataPreProcessor"])
def test_configs_find_it_by_name(name):
    from gcseg.registry import MODELS

    assert MODELS.get(name) is getattr(gcseg.models, name)
