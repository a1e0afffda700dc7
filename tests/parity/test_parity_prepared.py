"""Models prepared for inference against the oracle's own: 1e-9 in float64, 1e-4 in float32."""

import pytest
import torch
from mmengine.config import ConfigDict
from parity_tools import assert_close, pair, same_weights, sample, small_model
from test_parity_models import BACKBONES, HEADS
from torch.nn.modules.batchnorm import _BatchNorm

from gcseg.engine import prepare_for_inference

CLASSES = 5
TOLERANCE = {"float64": (torch.float64, 1e-9), "float32": (torch.float32, 1e-4)}
SLIDE = dict(mode="slide", crop_size=(32, 24), stride=(21, 17))


def images(size, dtype, n=2):
    return torch.randn(n, 3, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def prepared_and_oracle(cfg, dtype):
    ours, oracle = pair(cfg)
    same_weights(ours, oracle, dtype)
    prepare_for_inference(ours)
    assert not any(isinstance(module, _BatchNorm) for module in ours.modules())
    return ours, oracle.eval()


def compare(cfg, precision):
    dtype, rtol = TOLERANCE[precision]
    ours, oracle = prepared_and_oracle(cfg, dtype)
    with torch.no_grad():
        for size in ((33, 41), (40, 64)):
            assert_close(ours(images(size, dtype)), oracle(images(size, dtype)), rtol, "logits")


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("name", BACKBONES)
def test_backbone(name, precision):
    compare(small_model(**BACKBONES[name], num_classes=CLASSES), precision)


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("name", [name for name in HEADS if "ohem" not in name and name != "losses"])
def test_head(name, precision):
    head = dict(HEADS[name])
    compare(small_model(head, num_classes=head.get("num_classes", CLASSES)), precision)


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("mode", ["whole", "slide"])
def test_prediction(mode, depth, precision):
    dtype, rtol = TOLERANCE[precision]
    ours, oracle = prepared_and_oracle(small_model(depth=depth, num_classes=CLASSES), dtype)
    size, ori_shape = (37, 45), (53, 81)
    meta = dict(ori_shape=ori_shape, img_shape=size, pad_shape=size, padding_size=[0, 0, 0, 0])
    found = {}
    for side, model in (("ours", ours), ("oracle", oracle)):
        model.test_cfg = ConfigDict(dict(mode="whole") if mode == "whole" else SLIDE)
        with torch.no_grad():
            found[side] = model.predict(images(size, dtype), [sample(side, None, **meta)] * 2)
    for mine, theirs in zip(found["ours"], found["oracle"], strict=True):
        logits, expected = mine.seg_logits.data, theirs.seg_logits.data
        assert_close(logits, expected, rtol, "logits")
        differ = mine.pred_sem_seg.data.reshape(-1) != theirs.pred_sem_seg.data.reshape(-1)
        top = expected.flatten(1).topk(2, dim=0).values
        assert ((top[0] - top[1])[differ] < rtol * expected.abs().max()).all(), "arg-max differs where it is clear"
