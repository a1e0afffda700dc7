from importlib import import_module

import pytest

import gcseg.models


@pytest.mark.parametrize("home", ["context", "plugins", "backbones", "decode_heads", "losses", "segmentors", "builder"])
def test_public_names_are_the_objects_of_their_homes(home):
    module = import_module(f"gcseg.models.{home}")
    shared = set(gcseg.models.__all__) & set(vars(module))
    assert shared and getattr(gcseg.models, home) is module
    for name in shared - {"NonLocal2d"}:
        assert getattr(gcseg.models, name) is getattr(module, name)


def test_the_non_local_block_is_the_one_that_takes_mmcv_s_arguments():
    assert gcseg.models.NonLocal2d is gcseg.models.plugins.NonLocal2d


def test_unknown_name():
    with pytest.raises(AttributeError, match="PSPHead"):
        gcseg.models.PSPHead  # noqa: B018
    with pytest.raises(AttributeError) as error:
        gcseg.models.GCHaed  # noqa: B018
    assert error.value.name == "GCHaed" and "GCHead" in dir(error.value.obj)  # Python suggests it from these


@pytest.mark.parametrize("name", ["ContextBlock", "NonLocal2d", "ResNetV1c", "GCHead", "SegDataPreProcessor"])
def test_configs_find_it_by_name(name):
    from gcseg.registry import MODELS

    assert MODELS.get(name) is getattr(gcseg.models, name)
