"""gcseg's head and block inside mmsegmentation: the config file of docs/integrations.md, run by mmsegmentation."""

import copy
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from parity_tools import ORACLE_CONFIGS, assert_close, assert_same_gradients, batch, blobs, build, in_double, no_dropout
from PIL import Image

PAGE = Path(__file__).parents[2] / "docs" / "integrations.md"
SIZE = (48, 64)
WHOLE = dict(mode="whole")
SLIDE = dict(mode="slide", crop_size=(32, 32), stride=(21, 17))
THEIRS = {"gcseg.GCHead": "GCHead", "gcseg.ContextBlock": "ContextBlock"}


@pytest.fixture(autouse=True)
def _scope():
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope("mmseg"):
        yield


@pytest.fixture
def config(tmp_path):
    """The page's config file beside those of mmsegmentation, with a small network on a CPU."""
    from mmengine.config import Config

    code = re.search(r"^## mmsegmentation\n.*?^```python\n(.*?)^```", PAGE.read_text(), flags=re.S | re.M)[1]
    for folder in ("_base_", "gcnet"):
        (tmp_path / "configs" / folder).mkdir(parents=True)
        for file in (ORACLE_CONFIGS / folder).rglob("*.py"):
            copied = tmp_path / "configs" / file.relative_to(ORACLE_CONFIGS)
            copied.parent.mkdir(parents=True, exist_ok=True)
            copied.write_text(file.read_text())
    (tmp_path / "configs" / "mine").mkdir()
    file = tmp_path / "configs" / "mine" / "gcnet.py"
    file.write_text(code)
    config = Config.fromfile(file)
    assert config.model.decode_head.type == "gcseg.GCHead" and config.model.decode_head.num_classes == 19
    bn = dict(type="BN", requires_grad=True)
    config.model.pretrained = None
    config.model.data_preprocessor.size = SIZE
    config.model.backbone.update(stem_channels=8, base_channels=8, norm_cfg=bn)
    config.model.decode_head.update(in_channels=256, channels=16, norm_cfg=bn)
    config.model.auxiliary_head.update(in_channels=128, channels=16, norm_cfg=bn)
    return config


def same_random_weights(first, second):
    """Random weights for both, so that no block is the identity."""
    for tensor in first.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) * 0.2 + (0.9 if tensor.ndim == 1 else -0.1))
    second.load_state_dict(first.state_dict())


def with_their_types(model):
    model = copy.deepcopy(model)
    model.decode_head.type = THEIRS[model.decode_head.type]
    plugin = model.backbone.plugins[0].cfg
    plugin.type = THEIRS[plugin.type]
    return model


@pytest.fixture
def pair(config):
    """A segmentor of mmsegmentation with gcseg's parts, and one with its own and the same weights, in float64."""
    from mmseg.registry import MODELS

    torch.manual_seed(0)
    mixed, theirs = MODELS.build(config.model).double(), MODELS.build(with_their_types(config.model)).double()
    assert type(mixed).__module__.startswith("mmseg.") and type(mixed.backbone).__module__.startswith("mmseg.")
    assert type(mixed.decode_head).__module__ == "gcseg.models.decode_heads.gc_head"
    assert type(mixed.backbone.layer3[0].context_block).__module__.startswith("gcseg.")
    same_random_weights(mixed, theirs)
    return no_dropout(mixed), no_dropout(theirs)


def test_losses_and_gradients_of_a_step_are_those_of_their_own_parts(pair):
    results = []
    for model in pair:
        images, samples = batch("oracle", SIZE, 19)
        with in_double("oracle"):
            losses = model.train()(images, samples, mode="loss")
            sum(value for name, value in losses.items() if "loss" in name).backward()
        results.append(losses)
    assert results[0].keys() == results[1].keys() and "decode.loss_ce" in results[0]
    for name in results[0]:
        assert_close(results[0][name], results[1][name], 1e-9, name)
    assert_same_gradients(*pair, 1e-8)


@pytest.mark.parametrize("test_cfg", [WHOLE, SLIDE], ids=["whole", "slide"])
def test_predictions_are_those_of_their_own_parts(pair, test_cfg):
    from mmengine.config import ConfigDict

    results = []
    for model in pair:
        model.eval().test_cfg = ConfigDict(test_cfg)
        images, samples = batch("oracle", SIZE, 19)
        with in_double("oracle"), torch.no_grad():
            results.append(model(images, samples, mode="predict"))
    for ours, theirs in zip(*results, strict=True):
        assert ours.seg_logits.data.std() > 1e-3
        assert_close(ours.seg_logits.data, theirs.seg_logits.data, 1e-9, "logits")
        assert torch.equal(ours.pred_sem_seg.data, theirs.pred_sem_seg.data)


def test_a_loss_of_ours_can_be_named(config, pair):
    from mmseg.registry import MODELS

    config.model.decode_head.loss_decode.type = "gcseg.CrossEntropyLoss"
    model = no_dropout(MODELS.build(config.model).double())
    assert type(model.decode_head.loss_decode).__module__.startswith("gcseg.")
    model.load_state_dict(pair[1].state_dict())
    images, samples = batch("oracle", SIZE, 19)
    ours, theirs = (m.train()(images, samples, mode="loss")["decode.loss_ce"] for m in (model, pair[1]))
    assert_close(ours, theirs, 1e-9, "loss")


@pytest.mark.parametrize(
    "cfg",
    [
        dict(type="gcseg.GeneralContext", modelling="average", fusion="both"),
        dict(type="gcseg.GeneralContext", modelling="pairwise", postfix="_1"),
        dict(type="gcseg.SimplifiedNonLocal"),
        dict(type="gcseg.SE"),
        dict(type="gcseg.NonLocal2d", reduction=4),
    ],
    ids=lambda cfg: cfg["type"],
)
def test_every_block_is_a_plugin_of_their_backbone_as_of_ours(cfg):
    plugins = [dict(cfg=cfg, stages=(False, True, True, True), position="after_conv2")]
    options = dict(type="ResNetV1c", depth=50, stem_channels=8, base_channels=8, norm_cfg=dict(type="BN"))
    theirs, ours = (build(side, dict(options, plugins=copy.deepcopy(plugins))).double() for side in ("oracle", "ours"))
    assert type(theirs).__module__.startswith("mmseg.")
    same_random_weights(theirs, ours)
    images, _ = batch("oracle", SIZE, 19)
    with in_double("oracle"):
        results = ours(images), theirs(images)
    for mine, other in zip(*results, strict=True):
        assert mine.std() > 1e-3
        assert_close(mine, other, 1e-9, "features")


@pytest.mark.parametrize(
    "head",
    [
        dict(type="gcseg.SNLHead"),
        dict(type="gcseg.SEHead"),
        dict(type="gcseg.NLHead"),
        dict(type="gcseg.DNLHead"),
        dict(type="gcseg.ContextHead", block=dict(type="gcseg.GeneralContext", fusion="both")),
    ],
    ids=lambda head: head["type"],
)
def test_every_head_is_trained_in_their_segmentor(config, head):
    from mmseg.registry import MODELS

    for option in ("ratio", "pooling_type", "fusion_types"):
        config.model.decode_head.pop(option)
    config.model.decode_head.update(head)
    model = MODELS.build(config.model).train()
    assert type(model.decode_head).__module__.startswith("gcseg.")
    images, samples = batch("oracle", SIZE, 19, dtype=torch.float32)
    model(images, samples, mode="loss")["decode.loss_ce"].backward()
    assert all(parameter.grad is not None for parameter in model.decode_head.parameters())


def test_their_runner_trains_and_validates(config, tmp_path):
    """Three iterations and a validation with sliding windows, as ``tools/train.py`` does it."""
    from mmengine.runner import Runner

    rng = np.random.default_rng(0)
    for kind, name in (("leftImg8bit", "leftImg8bit.png"), ("gtFine", "gtFine_labelTrainIds.png")):
        folder = tmp_path / "data" / kind / "train" / "town"
        folder.mkdir(parents=True)
        for i in range(2):
            picture = blobs(SIZE, 19, rng) if kind == "gtFine" else rng.integers(0, 256, (*SIZE, 3))
            Image.fromarray(picture.astype(np.uint8)).save(folder / f"{i}_{name}")
    dataset = dict(
        type="CityscapesDataset",
        data_root=str(tmp_path / "data"),
        data_prefix=dict(img_path="leftImg8bit/train", seg_map_path="gtFine/train"),
        pipeline=[dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"), dict(type="PackSegInputs")],
    )
    for loader, size in ((config.train_dataloader, 2), (config.val_dataloader, 1)):
        loader.update(dataset=dataset, num_workers=0, persistent_workers=False, batch_size=size)
    config.train_cfg.update(max_iters=3, val_interval=3)
    config.model.test_cfg = SLIDE
    config.default_hooks.checkpoint.update(interval=3)
    config.default_hooks.logger.update(interval=1)
    config.update(work_dir=str(tmp_path / "run"), visualizer=None, test_dataloader=None, test_cfg=None)
    config.test_evaluator = None
    runner = Runner.from_cfg(config)
    runner.train()
    head = runner.model.decode_head
    assert head.gc_block.channel_add_conv[3].weight.any()
    assert runner.model.backbone.layer3[0].context_block.channel_add_conv[3].weight.any()
    assert 0 <= runner.message_hub.get_scalar("val/mIoU").current() <= 100
    weights = torch.load(tmp_path / "run" / "iter_3.pth", weights_only=False)["state_dict"]
    assert "decode_head.gc_block.conv_mask.weight" in weights
    assert "backbone.layer4.2.context_block.conv_mask.weight" in weights
