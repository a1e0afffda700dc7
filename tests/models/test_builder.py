import pytest
from torch import nn

from gcseg.models import EncoderDecoder, builder
from gcseg.registry import MODELS
from gcseg.utils import ConfigError

LAYER = dict(type="FCNHead", in_channels=4, channels=4, num_classes=2, num_convs=1, concat_input=False, in_index=0)
BACKBONE = dict(type="ResNet", depth=18, base_channels=4)


def test_one_registry_under_every_name():
    names = {name for name in builder.__all__ if name.isupper()}
    assert len(names) == 5 and all(getattr(builder, name) is MODELS for name in names)


def test_each_function_builds_what_the_registry_builds():
    assert type(builder.build_head(LAYER)) is MODELS.get("FCNHead")
    assert type(builder.build_backbone(BACKBONE)) is MODELS.get("ResNet")
    assert builder.build_loss(dict(type="DiceLoss", loss_weight=0.3)).loss_weight == 0.3

    @builder.NECKS.register_module(force=True)
    class OwnNeck(nn.Identity):
        pass

    assert isinstance(builder.build_neck(dict(type="OwnNeck")), OwnNeck)


def test_a_segmentor_takes_its_test_cfg_from_either_side():
    model, slide = dict(type="EncoderDecoder", backbone=BACKBONE, decode_head=LAYER), dict(mode="whole")
    built = builder.build_segmentor(model, train_cfg={}, test_cfg=slide)
    assert isinstance(built, EncoderDecoder) and built.test_cfg == slide and built.train_cfg == {}
    assert "test_cfg" not in model
    assert builder.build_segmentor(dict(model, test_cfg=slide)).test_cfg == slide
    with pytest.raises(ConfigError, match="test_cfg"):
        builder.build_segmentor(dict(model, test_cfg=slide), test_cfg=slide)
