from types import SimpleNamespace

import pytest
import torch
from torch import nn

from gcseg.models.losses import CrossEntropyLoss, DiceLoss, FocalLoss, OHEMPixelSampler, build_pixel_sampler
from gcseg.registry import TASK_UTILS
from gcseg.utils.errors import ConfigError


def head(*losses):
    return SimpleNamespace(ignore_index=255, loss_decode=losses[0] if len(losses) == 1 else nn.ModuleList(losses))


def data(classes=4):
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(2, classes, 8, 9, generator=g) * 2
    label = torch.randint(0, max(classes, 2), (2, 1, 8, 9), generator=g)
    label[torch.rand(label.shape, generator=g) < 0.25] = 255
    return logits, label


def test_keeps_the_pixels_of_highest_loss():
    logits, label = data()
    weight = OHEMPixelSampler(head(CrossEntropyLoss()), min_kept=20).sample(logits, label)
    loss = CrossEntropyLoss(reduction="none")(logits, label.squeeze(1))
    assert weight.shape == (2, 8, 9) and set(weight.unique().tolist()) == {0, 1} and weight.sum() == 40
    assert loss[weight == 1].min() >= loss[weight == 0].max()


@pytest.mark.parametrize("thresh", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("min_kept", [2, 30])
def test_keeps_pixels_below_the_threshold_and_at_least_min_kept(thresh, min_kept):
    logits, label = data()
    weight = OHEMPixelSampler(head(CrossEntropyLoss()), thresh=thresh, min_kept=min_kept).sample(logits, label)
    valid = label.squeeze(1) != 255
    prob = logits.softmax(1).gather(1, label.masked_fill(label == 255, 0)).squeeze(1)
    assert (weight[valid & (prob < thresh)] == 1).all() and (weight[~valid] == 0).all()
    assert weight.sum() == max((valid & (prob < thresh)).sum(), 2 * min_kept)


@pytest.mark.parametrize("thresh", [None, 0.7])
def test_more_than_there_are_and_none_at_all(thresh):
    logits, label = data()
    sampler = OHEMPixelSampler(head(CrossEntropyLoss()), thresh=thresh, min_kept=10**6)
    valid = (label != 255).squeeze(1)
    kept = sampler.sample(logits, label).bool()
    assert (kept & ~valid).sum() == 0
    assert (valid & ~kept).sum() == (
        0 if thresh is None else 1
    )  # the most certain one is not below its own probability
    assert sampler.sample(logits, torch.full_like(label, 255)).sum() == 0


def test_losses_add_up_and_region_losses_do_not_disturb():
    logits, label = data()
    alone = OHEMPixelSampler(head(CrossEntropyLoss()), min_kept=20).sample(logits, label)
    weighted = OHEMPixelSampler(head(CrossEntropyLoss(), FocalLoss(loss_weight=50.0)), min_kept=20)
    assert not torch.equal(weighted.sample(logits, label), alone)
    with_region = OHEMPixelSampler(head(CrossEntropyLoss(), DiceLoss(loss_weight=0.0)), min_kept=20)
    assert torch.equal(with_region.sample(logits, label), alone)
    with pytest.raises(ValueError, match="CrossEntropyLoss"):
        OHEMPixelSampler(head(DiceLoss())).sample(logits, label)


def test_one_channel():
    logits, label = data(classes=1)
    weight = OHEMPixelSampler(head(CrossEntropyLoss(use_sigmoid=True)), thresh=0.6, min_kept=2).sample(logits, label)
    wrong = (logits.squeeze(1) > 0) != (label.squeeze(1) == 1)
    valid = label.squeeze(1) != 255
    assert (weight[valid & wrong] == 1).all() and weight[valid].mean() < 1


def test_built_by_name():
    context = head(CrossEntropyLoss())
    for sampler in (
        TASK_UTILS.build(dict(type="OHEMPixelSampler", thresh=0.7), default_args=dict(context=context)),
        build_pixel_sampler(dict(type="OHEMPixelSampler", thresh=0.7), context=context),
    ):
        assert sampler.thresh == 0.7 and sampler.min_kept == 100000 and sampler.context is context


def test_the_choice_carries_no_gradient():
    logits, label = data()
    assert not OHEMPixelSampler(head(CrossEntropyLoss())).sample(logits.requires_grad_(), label).requires_grad


@pytest.mark.parametrize(("options", "message"), [(dict(min_kept=1), "at least 2"), (dict(thresh=1.5), r"\(0, 1\]")])
def test_options_out_of_range(options, message):
    with pytest.raises(ConfigError, match=message):
        OHEMPixelSampler(head(CrossEntropyLoss()), **options)


def test_shapes_are_checked():
    logits, label = data()
    with pytest.raises(ValueError, match=r"\(N, 1, H, W\)"):
        OHEMPixelSampler(head(CrossEntropyLoss())).sample(logits, label.squeeze(1))
