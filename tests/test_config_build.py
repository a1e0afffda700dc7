"""Errors of constructors, told as errors of the config."""

import copy

import pytest
from mmengine.registry import build_from_cfg

from gcseg.config_build import built_from
from gcseg.registry import MODELS
from gcseg.utils import ConfigError, DataError


@MODELS.register_module()
class Fussy:
    def __init__(self, size=1, inner=None, error=None, spare=None):
        if error is not None:
            raise error
        self.share = 12 // size
        self.inner = inner and MODELS.build(inner)


def build(model, **added):
    cfg = dict(norm=copy.deepcopy(model), model=model)
    with built_from(cfg):
        return MODELS.build({**copy.deepcopy(model), **added})


def test_the_place_the_type_and_the_values_are_named():
    model = dict(type="Fussy", inner=dict(type="Fussy", size=2, inner=dict(type="Fussy", size=0, spare="a" * 99)))
    with pytest.raises(ConfigError) as caught:
        build(model)
    message = str(caught.value)
    assert message.startswith("model.inner.inner: Fussy cannot be built from size=0, spare='aaa")
    assert "a" * 40 not in message and "ZeroDivisionError: " in message and "GCSEG_TRACEBACK=1" in message
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_of_many_values_those_are_told_that_the_error_speaks_of():
    with pytest.raises(ConfigError, match=r"^model: Fussy cannot be built from size=3: ValueError: size is odd\. Mend"):
        build(dict(type="Fussy", size=3, spare=4, error=ValueError("size is odd")))
    with pytest.raises(
        ConfigError, match=r"^model: Fussy cannot be built from size=3, .*: ValueError: the model is odd"
    ):
        build(dict(type="Fussy", size=3, spare=4, error=ValueError("the model is odd")))


def test_a_long_error_is_cut_off():
    with pytest.raises(ConfigError, match=r"^model: .*ValueError: (long ){79}l? ?\.\.\.\. Mend"):
        build(dict(type="Fussy", error=ValueError("long " * 999)))


def test_the_arguments_of_the_runner_disagree(tmp_path):
    from mmengine.runner import Runner

    cfg = dict(model=dict(type="Fussy"), work_dir=str(tmp_path), val_cfg=dict(), default_scope="gcseg")
    said = r"^the config: Runner cannot be built from val_cfg=\{\}: ValueError: val_dataloader, val_cfg, and val_evalu"
    with pytest.raises(ConfigError, match=said), built_from(cfg):
        Runner.from_cfg(cfg)


def test_a_value_that_the_runner_itself_refuses(tmp_path):
    from mmengine.runner import Runner

    cfg = dict(model=dict(type="Fussy"), work_dir=str(tmp_path), log_level="abc", default_scope="gcseg")
    said = r"^the config: Runner cannot be built from .*log_level='abc', .*: KeyError: 'abc'"
    with pytest.raises(ConfigError, match=said), built_from(cfg):
        Runner.from_cfg(cfg)


def test_a_part_in_a_list_and_a_class_in_place_of_its_name():
    cfg = dict(custom_hooks=[dict(type=Fussy), dict(type=Fussy, size=0)])
    said = r"^custom_hooks\[1\]: Fussy cannot be built from size=0: Zero"
    with pytest.raises(ConfigError, match=said), built_from(cfg):
        build_from_cfg(dict(type=Fussy, size=0), MODELS)


def test_what_code_added_on_the_way_is_not_the_configs():
    with pytest.raises(ConfigError, match=r"^model: Fussy cannot be built from size=0: Zero"):
        build(dict(type="Fussy", size=0), spare=3)


def test_a_part_without_a_type():
    with pytest.raises(ConfigError, match=r"^model\.inner: no `type`, the class to build; received \{'size': 1\}"):
        build(dict(type="Fussy", inner=dict(size=1)))


def test_an_error_of_the_config_gets_its_place():
    with pytest.raises(ConfigError, match=r"^model: size is odd$"):
        build(dict(type="Fussy", error=ConfigError("size is odd")))
    with pytest.raises(ConfigError, match=r"^model is odd$"):
        build(dict(type="Fussy", error=ConfigError("model is odd")))


@pytest.mark.parametrize("error", [DataError("no such folder"), KeyboardInterrupt()], ids=repr)
def test_other_errors_of_a_constructor_pass(error):
    with pytest.raises(type(error), match=f"^{error}$"):
        build(dict(type="Fussy", error=error))


def test_an_error_outside_of_building_passes():
    with pytest.raises(ZeroDivisionError), built_from(dict(model=dict(type="Fussy", size=0))):
        Fussy(size=0)


def test_what_is_built_from_no_section_of_the_config():
    said = r"^the config: Fussy cannot be built from size=0: Zero"
    with pytest.raises(ConfigError, match=said), built_from(dict(model=dict(type="Fussy", size=3))):
        MODELS.build(dict(type="Fussy", size=0), default_args=dict(spare=3))
