"""Weights to start from that a config names."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import DefaultScope

import gcseg
from gcseg.config import load_config
from gcseg.engine.checkpoint import install_safe_loader
from gcseg.engine.pretrained_init import spread_channels
from gcseg.registry import MODELS
from gcseg.utils import CheckpointError, WeightsNotFoundError

RECIPE = "gcnet_r18-d8_1xb8-1k_camvid-240x320"
SMALL = dict(type="ResNetV1c", depth=18, base_channels=16, stem_channels=16)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6, 7])
def test_spread_weights_answer_a_grey_image_as_before(channels):
    weight = torch.randn(6, 3, 3, 3, dtype=torch.float64)
    grey = torch.randn(1, 1, 9, 9, dtype=torch.float64)
    spread = spread_channels(weight, channels)
    expected = F.conv2d(grey.expand(-1, 3, -1, -1), weight)
    torch.testing.assert_close(F.conv2d(grey.expand(-1, channels, -1, -1), spread), expected, rtol=1e-12, atol=1e-12)
    if channels >= 3:  # and each colour goes to its own channels
        for i in range(channels):
            share = len([j for j in range(channels) if j % 3 == i % 3])
            torch.testing.assert_close(spread[:, i], weight[:, i % 3] / share)


@pytest.fixture
def source(tmp_path):
    """A file of weights of a small backbone for three channels, and those weights."""
    state = gcseg.create_model(backbone=SMALL, head="fcn", num_classes=2).backbone.state_dict()
    torch.save({"state_dict": {**state, "fc.weight": torch.ones(2, 2)}}, tmp_path / "backbone.pth")
    torch.save({f"module.backbone.{name}": value for name, value in state.items()}, tmp_path / "segmentor.pth")
    return tmp_path, state


def started(**options):
    """The backbone of a model of a config, initialised as the runner of a training does."""
    install_safe_loader()
    sizes = {"model.decode_head.in_channels": 128, "model.auxiliary_head.in_channels": 64, "model.pretrained": None}
    cfg = load_config(RECIPE, {**{f"model.backbone.{key}": value for key, value in SMALL.items()}, **sizes, **options})
    cfg.model.backbone.norm_cfg = dict(type="BN")
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
        model.init_weights()
    return model.backbone


@pytest.mark.parametrize("how", ["pretrained", "init_cfg", "prefix"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_config_starts_from_the_weights_that_create_model_starts_from(source, how, channels):
    folder, state = source
    file = str(folder / ("segmentor.pth" if how == "prefix" else "backbone.pth"))
    init_cfg = dict(type="Pretrained", checkpoint=file, **(dict(prefix="backbone") if how == "prefix" else {}))
    options = {"model.pretrained": file} if how == "pretrained" else {"model.backbone.init_cfg": init_cfg}
    found = started(**options, **{"model.backbone.in_channels": channels}).state_dict()
    assert torch.equal(found["stem.0.weight"], spread_channels(state["stem.0.weight"], channels))
    assert all(torch.equal(found[name], value) for name, value in state.items() if name != "stem.0.weight")
    pieces = dict(backbone=SMALL, head="gc", num_classes=2, pretrained=folder / "backbone.pth")
    created = gcseg.create_model(**pieces, in_channels=channels).backbone.state_dict()
    assert all(torch.equal(found[name], value) for name, value in created.items())


def test_a_prefix_that_no_tensor_has(source):
    init_cfg = dict(type="Pretrained", checkpoint=str(source[0] / "segmentor.pth"), prefix="neck.")
    with pytest.raises(CheckpointError, match=r"segmentor\.pth: none of its tensors .* begins with neck\."):
        started(**{"model.backbone.init_cfg": init_cfg})


INIT_CFG = dict(type="Pretrained", checkpoint="gone.pth")


@pytest.mark.parametrize("options", [{"model.pretrained": "gone.pth"}, {"model.backbone.init_cfg": INIT_CFG}], ids=str)
def test_weights_that_are_not_there_can_be_done_without(tmp_path, monkeypatch, options):
    monkeypatch.setenv("GCSEG_WEIGHTS", str(tmp_path))
    with pytest.raises(
        WeightsNotFoundError, match=r"gone\.pth: there is no .* model\.pretrained=None, or init_cfg=None"
    ):
        started(**options)
    started(**dict.fromkeys(options))
