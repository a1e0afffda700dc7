"""Whole, slide, and multi-scale + flip prediction over odd sizes, both values of align_corners."""

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from parity_tools import assert_close, pair, same_weights, sample, small_model

CLASSES = 5
WINDOWS = {
    "overlap": dict(mode="slide", crop_size=(32, 24), stride=(21, 17)),
    "abreast": dict(mode="slide", crop_size=(24, 24), stride=(24, 24)),
    "larger_than_image": dict(mode="slide", crop_size=(64, 96), stride=(40, 40)),
    "larger_one_way": dict(mode="slide", crop_size=(24, 96), stride=(16, 40)),
    "whole": dict(mode="whole"),
}
TOLERANCE = {"float64": (torch.float64, 1e-9), "float32": (torch.float32, 1e-4)}


def models(align_corners: bool, dtype: torch.dtype, head: dict | None = None):
    cfg = small_model(head, align_corners=align_corners, num_classes=(head or {}).get("num_classes", CLASSES))
    ours, oracle = pair(cfg)
    same_weights(ours, oracle, dtype)
    return ours.eval(), oracle.eval()


def image(size, dtype, n=1, seed=0):
    rng = np.random.default_rng((seed, *size))
    return torch.as_tensor(rng.standard_normal((n, 3, *size)), dtype=dtype)


def meta(size, ori_shape=None, **more):
    return dict(ori_shape=ori_shape or size, img_shape=size, pad_shape=size, padding_size=[0, 0, 0, 0], **more)


def predict(model, side, inputs, metas, test_cfg):
    model.test_cfg = ConfigDict(test_cfg)
    with torch.no_grad():
        return model.predict(inputs, [sample(side, None, **m) for m in metas])


def assert_same_prediction(mine, theirs, rtol):
    logits, expected = mine.seg_logits.data, theirs.seg_logits.data
    assert_close(logits, expected, rtol, "logits")
    differ = mine.pred_sem_seg.data.reshape(-1) != theirs.pred_sem_seg.data.reshape(-1)
    if rtol < 1e-6 or expected.shape[0] == 1:
        assert not differ.any()
    else:
        top = expected.flatten(1).topk(2, dim=0).values
        assert ((top[0] - top[1])[differ] < rtol * expected.abs().max()).all(), "argmax differs where it is clear"


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("window", WINDOWS)
def test_prediction(window, align_corners, precision):
    """Odd sizes, and results brought to the size of the photograph."""
    dtype, rtol = TOLERANCE[precision]
    ours, oracle = models(align_corners, dtype)
    for size, ori_shape in (((37, 45), None), ((40, 64), (53, 81)), ((33, 71), (20, 41))):
        metas = [meta(size, ori_shape)] * 2
        mine = predict(ours, "ours", image(size, dtype, 2), metas, WINDOWS[window])
        theirs = predict(oracle, "oracle", image(size, dtype, 2), metas, WINDOWS[window])
        for a, b in zip(mine, theirs, strict=True):
            assert b.seg_logits.data.shape[-2:] == (ori_shape or size)
            assert_same_prediction(a, b, rtol)


@pytest.mark.parametrize("direction", ["horizontal", "vertical"])
@pytest.mark.parametrize("mode", ["whole", "overlap"])
def test_flipped_and_padded(mode, direction):
    """A flip is undone and padding is cut off before the result is resized."""
    ours, oracle = models(False, torch.float64)
    size = (40, 48)
    metas = [
        dict(
            ori_shape=(61, 70), img_shape=(35, 44), pad_shape=size, img_padding_size=(0, 4, 0, 5),
            flip=True, flip_direction=direction,
        )
    ]  # fmt: skip
    inputs = image(size, torch.float64)
    (mine,), (theirs,) = (predict(m, s, inputs, metas, WINDOWS[mode]) for m, s in ((ours, "ours"), (oracle, "oracle")))
    assert_same_prediction(mine, theirs, 1e-9)


def test_without_samples():
    """predict(inputs) alone."""
    ours, oracle = models(False, torch.float64)
    inputs = image((33, 50), torch.float64, 2)
    ours.test_cfg = oracle.test_cfg = ConfigDict(mode="whole")
    with torch.no_grad():
        for mine, theirs in zip(ours.predict(inputs), oracle.predict(inputs), strict=True):
            assert_same_prediction(mine, theirs, 1e-9)


@pytest.mark.parametrize("mode", ["whole", "overlap"])
def test_binary(mode):
    """One output channel and a threshold."""
    head = dict(
        type="FCNHead", num_classes=2, out_channels=1, threshold=0.4,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=True),
    )  # fmt: skip
    ours, oracle = models(False, torch.float64, head)
    inputs, metas = image((37, 45), torch.float64), [meta((37, 45), (50, 60))]
    (mine,), (theirs,) = (predict(m, s, inputs, metas, WINDOWS[mode]) for m, s in ((ours, "ours"), (oracle, "oracle")))
    assert_close(mine.seg_logits.data, theirs.seg_logits.data, 1e-9)
    assert torch.equal(mine.pred_sem_seg.data.long(), theirs.pred_sem_seg.data.long())


def raw_views(side: str, ratios, seed: int = 3):
    """What TestTimeAug and the collate function hand to test_step: per view a list with one image and its sample."""
    rng = np.random.default_rng(seed)
    inputs, samples = [], []
    for ratio in ratios:
        size = (round(37 * ratio), round(45 * ratio))
        picture = torch.as_tensor(rng.integers(0, 256, (3, *size)), dtype=torch.uint8)
        for flip in (False, True):
            inputs.append([picture.flip(-1) if flip else picture])
            more = dict(
                flip=flip, flip_direction="horizontal" if flip else None, img_path="made.png", reduce_zero_label=False
            )
            label = np.zeros((37, 45), np.int64)
            samples.append([sample(side, label, **meta(size, (37, 45), **more))])
    return dict(inputs=inputs, data_samples=samples)


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("mode", ["whole", "overlap"])
def test_multi_scale_and_flip(mode, align_corners, precision):
    """SegTTAModel from raw uint8 views to the map: the ratios of the recipes, each flipped and not."""
    dtype, _ = TOLERANCE[precision]
    cfg = small_model(align_corners=align_corners, num_classes=CLASSES)
    cfg["data_preprocessor"] = dict(
        type="SegDataPreProcessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True, pad_val=0, seg_pad_val=255, size=(64, 64),
    )  # fmt: skip
    ratios = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
    found = {}
    ours, oracle = pair(cfg)
    same_weights(ours, oracle)
    for side, model in (("ours", ours), ("oracle", oracle)):
        model.to(dtype).eval()
        model.test_cfg = ConfigDict(WINDOWS[mode])
        # The preprocessor answers in float32 and the models of this test may be wider.
        model.data_preprocessor.register_forward_hook(lambda _, __, out: dict(out, inputs=out["inputs"].to(dtype)))
        if side == "ours":
            from gcseg.models import SegTTAModel
        else:
            from mmseg.models import SegTTAModel
        with torch.no_grad():
            (found[side],) = SegTTAModel(model).test_step(raw_views(side, ratios))
    mine = found["ours"].pred_sem_seg.data.reshape(37, 45).long()
    theirs = found["oracle"].pred_sem_seg.data.reshape(37, 45).long()
    assert len(theirs.unique()) > 1
    if precision == "float64":
        assert torch.equal(mine, theirs)
    else:
        assert (mine != theirs).float().mean() < 1e-3
    assert found["ours"].img_path == found["oracle"].img_path
    assert torch.equal(found["ours"].gt_sem_seg.data, found["oracle"].gt_sem_seg.data)
