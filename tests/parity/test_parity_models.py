"""Logits, losses, running statistics and every gradient of small models with random weights, float64, 1e-9."""

import pytest
import torch
from parity_tools import (
    assert_close,
    assert_same_gradients,
    batch,
    in_double,
    pair,
    same_weights,
    small_model,
)

SIZE = (33, 41)
CLASSES = 5


def plugin(kind, position, stages=(False, True, True, True), **kwargs):
    return dict(cfg=dict(type=kind, **kwargs), stages=stages, position=position)


CONTEXT = dict(ratio=1 / 4)
HEADS = {
    "gc": dict(type="GCHead"),
    "gc_half": dict(type="GCHead", ratio=1 / 2),
    "gc_avg": dict(type="GCHead", pooling_type="avg"),
    "gc_mul": dict(type="GCHead", fusion_types=("channel_mul",)),
    "gc_both": dict(type="GCHead", fusion_types=("channel_add", "channel_mul")),
    "gc_no_concat": dict(type="GCHead", concat_input=False),
    "gc_align": dict(type="GCHead", align_corners=True),
    "fcn": dict(type="FCNHead"),
    "fcn_one": dict(type="FCNHead", num_convs=1, kernel_size=1, concat_input=False),
    "fcn_dilated": dict(type="FCNHead", num_convs=3, dilation=3),
    "fcn_none": dict(type="FCNHead", num_convs=0, channels=64, concat_input=False),
    "fcn_bias": dict(type="FCNHead", norm_cfg=None, act_cfg=dict(type="LeakyReLU", negative_slope=0.2)),
    "fcn_group_norm": dict(type="FCNHead", norm_cfg=dict(type="GN", num_groups=4)),
    "fcn_concat_levels": dict(
        type="FCNHead", in_channels=(8, 16, 64), in_index=(0, 1, 3), input_transform="resize_concat"
    ),
    "fcn_first": dict(type="FCNHead", in_channels=8, in_index=0),
    "nl": dict(type="NLHead"),
    "nl_no_scale": dict(type="NLHead", use_scale=False, reduction=4),
    "nl_dot": dict(type="NLHead", mode="dot_product"),
    "nl_gaussian": dict(type="NLHead", mode="gaussian", reduction=1),
    "dnl": dict(type="DNLHead"),
    "dnl_hot": dict(type="DNLHead", temperature=0.7, reduction=1),
    "dnl_no_scale": dict(type="DNLHead", temperature=0.5, use_scale=False),
    "dnl_dot": dict(type="DNLHead", temperature=0.5, mode="dot_product"),
    "binary": dict(
        type="FCNHead", num_classes=2, out_channels=1, loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=True)
    ),
    "ohem_top": dict(type="GCHead", sampler=dict(type="OHEMPixelSampler", min_kept=150)),
    "ohem_threshold": dict(type="GCHead", sampler=dict(type="OHEMPixelSampler", thresh=0.3, min_kept=150)),
    "losses": dict(
        type="GCHead",
        loss_decode=[
            dict(type="CrossEntropyLoss", loss_weight=1.0, loss_name="loss_ce"),
            dict(type="CrossEntropyLoss", use_sigmoid=True, loss_weight=0.3, loss_name="loss_ce"),
            dict(type="TverskyLoss", loss_weight=0.5),
        ],
    ),
}
BACKBONES = {
    "r18": dict(depth=18),
    "r34": dict(depth=34),
    "r50": dict(depth=50),
    "r101": dict(depth=101, width=4),
    "r50_plain": dict(depth=50, backbone="ResNet"),
    "r50_v1d": dict(depth=50, backbone="ResNetV1d"),
    "r18_v1d": dict(depth=18, backbone="ResNetV1d"),
    "r50_caffe": dict(depth=50, style="caffe"),
    "r50_avg_down": dict(depth=50, backbone="ResNet", avg_down=True),
    "r50_deep_stem": dict(depth=50, backbone="ResNet", deep_stem=True),
    "r50_d32": dict(depth=50, strides=(1, 2, 2, 2), dilations=(1, 1, 1, 1), contract_dilation=False),
    "r50_d16": dict(depth=50, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)),
    "r50_no_contraction": dict(depth=50, contract_dilation=False),
    "r18_no_contraction": dict(depth=18, contract_dilation=False),
    "r50_multi_grid": dict(depth=50, multi_grid=(1, 2, 4)),
    "r50_multi_grid_alone": dict(depth=50, multi_grid=(2, 1, 2), contract_dilation=False),
    "r18_frozen": dict(depth=18, frozen_stages=1),
    "r18_norm_eval": dict(depth=18, norm_eval=True),
    "r50_group_norm": dict(depth=50, norm_cfg=dict(type="GN", num_groups=2)),
    "r50_gc_conv1": dict(depth=50, plugins=[plugin("ContextBlock", "after_conv1", **CONTEXT)]),
    "r50_gc_conv2": dict(depth=50, plugins=[plugin("ContextBlock", "after_conv2", **CONTEXT)]),
    "r50_gc_conv3": dict(depth=50, plugins=[plugin("ContextBlock", "after_conv3", **CONTEXT)]),
    "r50_gc_mul_conv3": dict(
        depth=50,
        plugins=[plugin("ContextBlock", "after_conv3", None, fusion_types=("channel_mul", "channel_add"), **CONTEXT)],
    ),
    "r50_nl_conv2": dict(depth=50, plugins=[plugin("NonLocal2d", "after_conv2", (False, False, True, False))]),
    "r50_nl_sub_sample": dict(
        depth=50,
        plugins=[plugin("NonLocal2d", "after_conv3", (False, False, False, True), sub_sample=True, reduction=1)],
    ),
    "r50_two_places": dict(
        depth=50,
        plugins=[
            plugin("ContextBlock", "after_conv2", postfix="a", **CONTEXT),
            plugin("ContextBlock", "after_conv3", postfix="b", **CONTEXT),
        ],
    ),
}


def compare(cfg: dict, rtol: float = 1e-9, num_classes: int = CLASSES) -> None:
    """Training mode: losses, gradients, statistics; then evaluation mode with the moved statistics: logits."""
    ours, oracle = pair(cfg)
    assert list(ours.state_dict()) == list(oracle.state_dict())
    same_weights(ours, oracle)
    found = {}
    for side, model in (("ours", ours), ("oracle", oracle)):
        images, samples = batch(side, SIZE, num_classes)
        model.train()
        with in_double(side):
            found[side] = model.loss(images, samples)
            sum(value.sum() for key, value in found[side].items() if "loss" in key).backward()
    assert list(found["ours"]) == list(found["oracle"])
    for key, value in found["oracle"].items():
        if "acc" in key and oracle.out_channels == 1:
            continue  # mended, see test_parity_mended.py
        assert_close(found["ours"][key].reshape(-1), value.reshape(-1), 1e-6 if "acc" in key else rtol, key)
    assert_same_gradients(ours, oracle, rtol)
    for key, value in oracle.state_dict().items():
        assert_close(ours.state_dict()[key], value, rtol, key)
    with torch.no_grad():
        for mode in (True, False):
            with in_double("oracle"):
                expected = oracle.train(mode)(images)
            assert_close(ours.train(mode)(images), expected, rtol, f"logits, training={mode}")


@pytest.mark.parametrize("name", HEADS)
def test_head(name):
    head = dict(HEADS[name])
    compare(small_model(head, num_classes=CLASSES), num_classes=head.get("num_classes", CLASSES))


@pytest.mark.parametrize("name", BACKBONES)
def test_backbone(name):
    compare(small_model(**BACKBONES[name], num_classes=CLASSES))


def test_list_of_auxiliary_heads():
    cfg = small_model(num_classes=CLASSES)
    second = dict(cfg["auxiliary_head"], in_index=1, in_channels=16)
    cfg["auxiliary_head"] = [cfg["auxiliary_head"], second]
    compare(cfg)


def test_concatenation():
    """The form of the non-local block that the oracle cannot train: it changes a tensor that its gradient needs."""
    ours, oracle = pair(small_model(dict(type="NLHead", mode="concatenation"), num_classes=CLASSES))
    same_weights(ours, oracle)
    images, samples = batch("ours", SIZE, CLASSES)
    with torch.no_grad():
        assert_close(ours.eval()(images), oracle.eval()(images), 1e-9, "logits")
    sum(value for key, value in ours.loss(images, samples).items() if "loss" in key).backward()
    _, theirs = batch("oracle", SIZE, CLASSES)
    with pytest.raises(RuntimeError, match="inplace"):
        oracle.loss(images, theirs)["decode.loss_ce"].backward()


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("head", ["GCHead", "NLHead", "DNLHead", "FCNHead"])
def test_float32_forward(depth, head):
    """One forward pass and its losses in single precision: 1e-4 and 1e-5."""
    ours, oracle = pair(small_model(dict(type=head), depth=depth, num_classes=CLASSES))
    same_weights(ours, oracle, dtype=torch.float32)
    images, samples = batch("ours", SIZE, CLASSES, dtype=torch.float32)
    _, theirs = batch("oracle", SIZE, CLASSES)
    with torch.no_grad():
        assert_close(ours.eval()(images), oracle.eval()(images), 1e-4, "logits")
        found, expected = ours.loss(images, samples), oracle.loss(images, theirs)
    for key, value in expected.items():
        assert_close(found[key].reshape(-1), value.reshape(-1), 1e-5, key)
