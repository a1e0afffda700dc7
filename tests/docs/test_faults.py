"""The messages about configs in docs/faults.md are those that are given."""

import re
from pathlib import Path

import pytest
from torch import nn

from gcseg.config import load_config
from gcseg.config_build import built_from
from gcseg.engine import weights
from gcseg.engine.checkpoint import install_safe_loader
from gcseg.registry import MODELS, OPTIMIZERS, WEIGHT_INITIALIZERS
from gcseg.utils import ConfigError, WeightsNotFoundError

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
CITYSCAPES = "gcnet_r50-d8_4xb2-40k_cityscapes-512x1024"
CAMVID = "gcnet_r18-d8_1xb8-1k_camvid-240x320"
RESNET18 = "https://download.openmmlab.com/pretrain/third_party/resnet18_v1c-b5776b93.pth"
ADAMW = {"_delete_": True, "type": "AdamW", "lr": 0.01}


def listed():
    return {" ".join(block.split()) for block in re.findall(r"^gcseg: error: (.*?)^```", PAGE.read_text(), re.S | re.M)}


@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        (CITYSCAPES, {"model.decode_head.type": "GCHed"}),
        (CITYSCAPES, {"model.decode_head.ration": 0.5}),
        (CITYSCAPES, {"modle.x": 1}),
        (CITYSCAPES, {"optim_wrapper.optimizer.lr": "a"}),
        (CITYSCAPES, {"model.decode_head.loss_decode.loss_weight": "abc"}),
        (CITYSCAPES, {"train_cfg.max_iters": 0}),
        (CITYSCAPES, {"model.backbone.depth": 17}),
        (CITYSCAPES, {"optim_wrapper": {"optimizer": ADAMW, "paramwise_cfg": {"norm_decay_mult": 0.0}}}),
        (CAMVID, {"model.decode_head.num_classes": 12}),
        (CAMVID, {"model.decode_head.in_channels": 2048}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_a_check_says_is_listed(recipe, options):
    with pytest.raises(ConfigError) as caught:
        load_config(recipe, options)
    assert " ".join(str(caught.value).split()) in listed()


@pytest.mark.parametrize(
    ("registry", "section"),
    [
        (OPTIMIZERS, dict(optim_wrapper=dict(optimizer=dict(type="SGD", lr=-1, momentum=0.9, weight_decay=0.0005)))),
        (MODELS, dict(model=dict(decode_head=dict(loss_decode=dict(loss_weight=1.0))))),
    ],
    ids=["refused", "no type"],
)
def test_what_building_says_is_listed(registry, section):
    part = section
    while "lr" not in part and "loss_weight" not in part:
        (part,) = part.values()
    with pytest.raises(ConfigError) as caught, built_from(section):
        registry.build(part, default_args=dict(params=[]))
    assert str(caught.value) in listed()


def test_what_a_module_that_is_not_there_brings_is_listed(tmp_path):
    mine = tmp_path / "my_config.py"
    mine.write_text("custom_imports = dict(imports=['my_heads'])\n")
    with pytest.raises(ConfigError) as caught:
        load_config(mine)
    assert str(caught.value).replace(f"{tmp_path}/", "") in listed()


def test_what_the_code_of_a_config_raises_is_listed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my_config.py").write_text("crop_size = (512, 1024)\nmodel = dict(data_preprocessor=dict(size=crop_sise))\n")
    with pytest.raises(ConfigError) as caught:
        load_config("my_config.py")
    assert str(caught.value).replace(str(tmp_path), "/home/me") in listed()


def test_what_weights_that_cannot_be_downloaded_bring_is_listed(tmp_path, monkeypatch):
    def no_network(*args):
        raise OSError(-2, "Name or service not known")

    monkeypatch.setattr(weights, "download", no_network)
    monkeypatch.setenv("GCSEG_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    install_safe_loader()
    with pytest.raises(WeightsNotFoundError) as caught:
        WEIGHT_INITIALIZERS.build(dict(type="Pretrained", checkpoint=RESNET18))(nn.Identity())
    assert str(caught.value).replace(str(tmp_path), "/data/weights") in listed()
