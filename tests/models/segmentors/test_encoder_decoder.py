import copy
import weakref

import pytest
import tiny_segmentor as tiny
import torch
import torch.nn.functional as F
from torch import nn

from gcseg.models.decode_heads import GCHead
from gcseg.models.segmentors import EncoderDecoder
from gcseg.registry import MODELS
from gcseg.utils.errors import ConfigError

SLIDE = dict(mode="slide", crop_size=(33, 25), stride=(20, 17))


def predict(model, *images_and_samples):
    images, samples = zip(*images_and_samples, strict=True)
    with torch.no_grad():
        return model.test_step(dict(inputs=list(images), data_samples=list(samples)))


@pytest.mark.parametrize(
    ("auxiliary", "prefixes"),
    [("none", ["decode"]), ("one", ["decode", "aux"]), ("two", ["decode", "aux_0", "aux_1"])],
)
def test_names_of_the_losses(auxiliary, prefixes):
    model = tiny.build(auxiliary=auxiliary).train()
    data = dict(inputs=[tiny.image(33, 40)] * 2, data_samples=[tiny.sample(33, 40), tiny.sample(33, 40)])
    losses = model(**model.data_preprocessor(data, True), mode="loss")
    assert list(losses) == [f"{p}.{name}" for p in prefixes for name in ("loss_ce", "acc_seg")]
    total, _ = model.parse_losses(losses)
    assert total.item() == pytest.approx(sum(losses[f"{p}.loss_ce"].item() for p in prefixes))
    total.backward()
    # a number added to all attention scores changes nothing, so the bias that does so gets no gradient
    silent = [n for n, p in model.named_parameters() if p.grad is None or p.grad.abs().sum() < 1e-9]
    assert silent in ([], ["decode_head.gc_block.conv_mask.bias"])
    assert model.with_auxiliary_head == (auxiliary != "none") and not model.with_neck


def test_a_neck_stands_between_backbone_and_heads():
    class Double(nn.Module):
        def forward(self, features):
            return tuple(2 * f for f in features)

    plain, necked = tiny.build(), tiny.build(neck=Double())
    x = torch.randn(1, 3, 32, 32)
    assert necked.with_neck
    for a, b in zip(plain.extract_feat(x), necked.extract_feat(x), strict=True):
        torch.testing.assert_close(2 * a, b)


@pytest.mark.parametrize("size", [(1, 1), (17, 29), (32, 32), (40, 9)])
@pytest.mark.parametrize("test_cfg", [dict(mode="whole"), SLIDE], ids=lambda c: c["mode"])
@pytest.mark.parametrize("align_corners", [False, True])
def test_odd_sizes_come_back_at_the_photographs_size(size, test_cfg, align_corners):
    model = tiny.build(test_cfg=test_cfg, align_corners=align_corners)
    (result,) = predict(model, (tiny.image(*size), tiny.sample(*size, ori_shape=(23, 31))))
    prediction, logits = result.pred_sem_seg.data, result.seg_logits.data
    assert prediction.shape == (1, 23, 31) and prediction.dtype == torch.int64
    assert logits.shape == (tiny.CLASSES, 23, 31)
    assert torch.equal(prediction[0], logits.argmax(0))


@pytest.mark.parametrize("align_corners", [False, True])
def test_the_joined_steps_give_what_the_separate_ones_give(align_corners):
    model = tiny.build(align_corners=align_corners)
    img, meta = tiny.image(40, 33), dict(img_padding_size=(0, 5, 0, 7), flip=True, flip_direction="horizontal")
    (joined,) = predict(model, (img, tiny.sample(40, 33, ori_shape=(50, 70), **meta)))
    x = model.data_preprocessor(dict(inputs=[img]), False)["inputs"]
    with torch.no_grad():
        low = model(x, mode="tensor")
        full = F.interpolate(low, (40, 33), mode="bilinear", align_corners=align_corners)
        cropped = full[..., :33, :28].flip(-1)
        wanted = F.interpolate(cropped, (50, 70), mode="bilinear", align_corners=align_corners)[0]
        apart = model.inference(x, [joined.metainfo])
        (separate,) = model.postprocess_result(apart, [tiny.sample(40, 33, ori_shape=(50, 70), **meta)])
    torch.testing.assert_close(apart, full)
    torch.testing.assert_close(joined.seg_logits.data, wanted)
    torch.testing.assert_close(separate.seg_logits.data, wanted)
    assert torch.equal(joined.pred_sem_seg.data, wanted.argmax(0, keepdim=True))


def test_slide_is_the_average_of_windows_at_the_images_resolution():
    model = tiny.build(test_cfg=dict(mode="slide", crop_size=(32, 32), stride=(32, 16)))
    x = torch.randn(1, 3, 32, 48)
    with torch.no_grad():
        got = model.inference(x, [dict(ori_shape=(32, 48))])
        windows = [F.interpolate(model(x[..., i : i + 32]), (32, 32), mode="bilinear") for i in (0, 16)]
    torch.testing.assert_close(got[..., :16], windows[0][..., :16])
    torch.testing.assert_close(got[..., 16:32], (windows[0][..., 16:] + windows[1][..., :16]) / 2)
    torch.testing.assert_close(got[..., 32:], windows[1][..., 16:])
    whole = tiny.build().inference(x, [{}])
    assert not torch.allclose(got, whole, atol=1e-3)


def test_nothing_given_is_written_to():
    test_cfg = copy.deepcopy(SLIDE)
    config = tiny.config(test_cfg=test_cfg)
    before = copy.deepcopy(config)
    model = MODELS.build(config).eval()
    assert config == before
    metas = [dict(ori_shape=(40, 40), img_shape=(40, 40), pad_shape=(40, 40))]
    with torch.no_grad():
        model.inference(torch.randn(1, 3, 40, 40), metas)
    assert metas == [dict(ori_shape=(40, 40), img_shape=(40, 40), pad_shape=(40, 40))] and test_cfg == SLIDE


def test_test_cfg_is_read_at_each_prediction():
    model, img = tiny.build(), tiny.image(50, 50)
    (whole,) = predict(model, (img, tiny.sample(50, 50)))
    model.test_cfg = SLIDE
    (slide,) = predict(model, (img, tiny.sample(50, 50)))
    assert not torch.allclose(whole.seg_logits.data, slide.seg_logits.data)


@pytest.mark.filterwarnings("ignore:images of several sizes")
@pytest.mark.parametrize("test_cfg", [dict(mode="whole"), SLIDE], ids=lambda c: c["mode"])
def test_mixed_sizes_in_a_batch(test_cfg):
    model = tiny.build(test_cfg=test_cfg)
    sizes = [(33, 40), (50, 20)]
    results = predict(model, *((tiny.image(*s), tiny.sample(*s, ori_shape=(s[0] * 2, s[1]))) for s in sizes))
    assert [tuple(r.pred_sem_seg.data.shape) for r in results] == [(1, 66, 40), (1, 100, 20)]
    assert all(torch.equal(r.pred_sem_seg.data[0], r.seg_logits.data.argmax(0)) for r in results)


def test_without_samples_results_have_the_size_of_the_input():
    model = tiny.build()
    x = torch.randn(2, 3, 30, 41)
    results = model(x, mode="predict")
    assert [tuple(r.seg_logits.data.shape) for r in results] == [(tiny.CLASSES, 30, 41)] * 2
    wanted = F.interpolate(model(x), (30, 41), mode="bilinear")
    torch.testing.assert_close(results[1].seg_logits.data, wanted[1])


def test_one_channel_is_a_threshold_on_the_sigmoid():
    model, img = tiny.build(binary=True), tiny.image(24, 24)
    (result,) = predict(model, (img, tiny.sample(24, 24)))
    probability, prediction = result.seg_logits.data, result.pred_sem_seg.data
    assert probability.shape == (1, 24, 24) and probability.min() >= 0 and probability.max() <= 1
    assert torch.equal(prediction, (probability > 0.4).long())
    model.decode_head.threshold = float(probability.median())
    (other,) = predict(model, (img, tiny.sample(24, 24)))
    assert other.pred_sem_seg.data.double().mean() == pytest.approx(0.5, abs=0.1)


def test_the_arg_max_does_not_keep_full_logits():
    model = tiny.build()
    kept = []
    original = model.decode_head.forward
    model.decode_head.forward = lambda features: kept.append(original(features)) or kept[-1]
    (result,) = predict(model, (tiny.image(64, 64), tiny.sample(64, 64, ori_shape=(640, 640))))
    assert "seg_logits" not in list(result.keys()) and "seg_logits" in result
    assert kept[0].shape[-2:] == (8, 8)
    alive = weakref.ref(kept.pop())
    assert result.seg_logits.data.shape == (tiny.CLASSES, 640, 640)
    assert alive() is None, "the low-resolution logits are let go once the full ones are made"


def test_overridden_steps_are_called():
    class Shifted(EncoderDecoder):
        def encode_decode(self, inputs, batch_img_metas):
            logits = super().encode_decode(inputs, batch_img_metas).clone()
            logits[:, 3] += 1e6
            return logits

    class ShiftedHead(GCHead):
        def predict_by_feat(self, seg_logits, batch_img_metas):
            logits = super().predict_by_feat(seg_logits, batch_img_metas).clone()
            logits[:, 2] += 1e6
            return logits

    config = tiny.config()
    config.pop("type")
    head = {k: v for k, v in config["decode_head"].items() if k != "type"}
    for model, winner in (
        (Shifted(**config), 3),
        (EncoderDecoder(**dict(config, decode_head=ShiftedHead(**head))), 2),
    ):
        (result,) = predict(model.eval(), (tiny.image(16, 16), tiny.sample(16, 16)))
        assert (result.pred_sem_seg.data == winner).all()


def test_half_precision_predicts_in_float32():
    model = tiny.build()
    with torch.autocast("cpu", torch.bfloat16):
        (result,) = predict(model, (tiny.image(32, 32), tiny.sample(32, 32, ori_shape=(64, 64))))
    assert result.seg_logits.data.dtype == torch.float32
    assert torch.equal(result.pred_sem_seg.data[0], result.seg_logits.data.argmax(0))


def test_checkpoints_in_the_old_form_load_as_they_are():
    model, fresh = tiny.build(seed=1), tiny.build(seed=2)
    old = dict(
        meta=dict(mmseg_version="0.5.0", CLASSES=("a",) * tiny.CLASSES, PALETTE=None),
        state_dict={k: v.clone() for k, v in model.state_dict().items()},
    )
    expected = {
        "backbone.stem.0.weight",
        "backbone.layer4.1.conv2.weight",
        "decode_head.conv_seg.bias",
        "decode_head.convs.1.bn.running_var",
        "decode_head.conv_cat.conv.weight",
        "decode_head.gc_block.conv_mask.weight",
        "decode_head.gc_block.channel_add_conv.3.bias",
        "auxiliary_head.convs.0.conv.weight",
        "auxiliary_head.conv_seg.weight",
    }
    assert expected <= set(old["state_dict"])
    assert not any("mean" in k.split(".")[-1] and "data_preprocessor" in k for k in old["state_dict"])
    fresh.load_state_dict(old["state_dict"], strict=True)
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(fresh(x), model(x))


def test_pretrained_goes_to_the_backbone_once():
    config = tiny.config()
    config["backbone"]["pretrained"] = "a.pth"
    with pytest.raises(ConfigError, match=r"b\.pth.*a\.pth"):
        MODELS.build(dict(config, pretrained="b.pth"))
    received = {}

    class Backbone(nn.Module):
        def __init__(self, pretrained=None):
            super().__init__()
            received["pretrained"] = pretrained

    MODELS.register_module(name="PretrainedProbe", module=Backbone, force=True)
    backbone = dict(type="PretrainedProbe")
    MODELS.build(dict(config, backbone=backbone, pretrained="b.pth"))
    assert received == dict(pretrained="b.pth") and backbone == dict(type="PretrainedProbe")
    with pytest.raises(ConfigError, match="finished Backbone"):
        MODELS.build(dict(config, backbone=Backbone(), pretrained="b.pth"))


def test_wrong_requests_are_named():
    with pytest.raises(ConfigError, match="'slide'"):
        MODELS.build(tiny.config(test_cfg=dict(mode="slde")))
    with pytest.raises(ValueError, match="Did you mean 'predict'"):
        tiny.build()(torch.zeros(1, 3, 8, 8), mode="predic")
    with pytest.raises(ConfigError, match="received 2 images in a list and no batch; .*SegDataPreProcessor"):
        tiny.build()([torch.zeros(3, 8, 8)] * 2)
