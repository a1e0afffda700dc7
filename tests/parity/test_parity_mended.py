"""Defects of the oracle that are mended on purpose (docs/differences.md): here the two must differ, as documented.

Who is right is told by a third, slow computation, one pixel at a time.
"""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from parity_tools import (
    assert_close,
    assert_same_gradients,
    batch,
    build,
    error,
    pair,
    same_weights,
    sample,
    small_model,
)
from test_parity_losses import CLASS_WEIGHT, CLASSES, inputs, value_and_gradient


def pixels(logits, label):
    """(scores of the classes, label) of every pixel, as plain numbers."""
    scores = logits.movedim(1, -1).reshape(-1, logits.shape[1]).tolist()
    return list(zip(scores, label.reshape(-1).tolist(), strict=True))


def test_class_weights_with_ignored_pixels():
    """The oracle's default divides by the weights of the pixels that count, its avg_non_ignore=True fails."""
    logits, label, _ = inputs()
    cfg = dict(type="CrossEntropyLoss", class_weight=CLASS_WEIGHT)
    ours, oracle = pair(cfg)
    non_ignore = dict(cfg, avg_non_ignore=True)
    expected = value_and_gradient(oracle, logits, label, ignore_index=255)
    found = value_and_gradient(ours, logits, label, ignore_index=255)
    assert error(found[0], expected[0]) > 0.05
    with pytest.raises(IndexError):
        build("oracle", non_ignore)(logits, label, ignore_index=255)

    total = weights = counted = 0
    for scores, mark in pixels(logits, label):
        if mark != 255:
            total += CLASS_WEIGHT[mark] * (math.log(sum(map(math.exp, scores))) - scores[mark])
            weights, counted = weights + CLASS_WEIGHT[mark], counted + 1
    assert found[0].item() == pytest.approx(total / (weights / counted * label.numel()), rel=1e-6)
    way_back = value_and_gradient(build("ours", non_ignore), logits, label, ignore_index=255)
    assert way_back[0].item() == pytest.approx(total / weights, rel=1e-6)
    assert_close(way_back[0], expected[0], 1e-9)
    assert_close(way_back[1], expected[1], 1e-9)


def test_class_weights_of_one_are_none():
    """What the mended average is for."""
    logits, label, _ = inputs()
    for avg_non_ignore in (False, True):
        plain = dict(type="CrossEntropyLoss", avg_non_ignore=avg_non_ignore)
        with_ones = build("ours", dict(plain, class_weight=[1.0] * CLASSES))
        assert_close(with_ones(logits, label), build("oracle", plain)(logits, label, ignore_index=255), 1e-6)


def test_class_weights_of_sigmoids():
    """The oracle lays the weights of the classes along the width of the image."""
    logits, label, _ = inputs()
    cfg = dict(type="CrossEntropyLoss", use_sigmoid=True, class_weight=CLASS_WEIGHT)
    ours, oracle = pair(cfg)
    with pytest.raises(RuntimeError, match="must match"):
        oracle(logits, label, ignore_index=255)
    total = 0.0
    for scores, mark in pixels(logits, label):
        for c, score in enumerate(scores if mark != 255 else []):
            p = 1 / (1 + math.exp(-score))
            total -= CLASS_WEIGHT[c] * math.log(p) if c == mark else math.log(1 - p)
    assert ours(logits, label, ignore_index=255).item() == pytest.approx(total / logits.numel(), rel=1e-9)


@pytest.mark.parametrize("naive", [False, True])
def test_dice_of_ignored_pixels(naive):
    """The oracle punishes every probability on an ignored pixel, and its gradient there is not zero."""
    logits, label, _ = inputs()
    ours, oracle = pair(dict(type="DiceLoss", use_sigmoid=False, naive_dice=naive))
    found = value_and_gradient(ours, logits, label, ignore_index=255)
    expected = value_and_gradient(oracle, logits, label, ignore_index=255)
    ignored = (label == 255)[:, None].expand_as(logits)
    assert error(found[0], expected[0]) > 0.01
    assert expected[1][ignored].abs().max() > 0
    assert found[1][ignored].abs().max() == 0

    losses = []
    for image, marks in zip(logits.softmax(1), label, strict=True):
        overlap = probable = labelled = 0.0
        for scores, mark in pixels(image[None], marks):
            if mark != 255:
                overlap += scores[mark]
                probable += sum(s if naive else s * s for s in scores)
                labelled += 1
        eps = 1e-3
        top, bottom = (2 * overlap + eps, eps) if naive else (2 * overlap, 2 * eps)
        losses.append(1 - top / (probable + labelled + bottom))
    assert found[0].item() == pytest.approx(sum(losses) / 2, rel=1e-9)


def test_focal_loss_of_indices_on_a_cpu():
    """The oracle fails; ignored pixels are 0 and still counted by the mean, as in its CUDA form."""
    logits, label, _ = inputs()
    ours, oracle = pair(dict(type="FocalLoss", gamma=1.5, alpha=0.3))
    with pytest.raises((RuntimeError, ValueError)):
        oracle(logits, label, ignore_index=255)
    total = 0.0
    for scores, mark in pixels(logits, label):
        for c, score in enumerate(scores if mark != 255 else []):
            p = 1 / (1 + math.exp(-score))
            total -= 0.3 * (1 - p) ** 1.5 * math.log(p) if c == mark else 0.7 * p**1.5 * math.log(1 - p)
    assert ours(logits, label, ignore_index=255).item() == pytest.approx(total / logits.numel(), rel=1e-9)


def test_lovasz_defaults():
    """The oracle's defaults contradict each other; ours mean what reduction='none' means there."""
    logits, label, _ = inputs(torch.float32)
    with pytest.raises(AssertionError):
        build("oracle", dict(type="LovaszLoss"))
    expected = build("oracle", dict(type="LovaszLoss", reduction="none"))(logits, label, ignore_index=255)
    assert_close(build("ours", dict(type="LovaszLoss"))(logits, label, ignore_index=255), expected, 1e-5)


def test_several_plugins_at_one_place():
    """The oracle builds both and runs the last; ours runs both, in order."""
    gc, nl = dict(type="ContextBlock", ratio=1 / 4), dict(type="NonLocal2d", reduction=1)
    stages = (False, True, False, False)
    both = [dict(cfg=cfg, stages=stages, position="after_conv3") for cfg in (gc, nl)]
    cfg = small_model(depth=50, width=4, plugins=both)
    ours, oracle = pair(cfg)
    assert list(ours.state_dict()) == list(oracle.state_dict())
    same_weights(ours, oracle)
    images, _ = batch("ours", (33, 41), 5)
    x = torch.randn(2, 16, 9, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert error(ours.eval()(images), oracle.eval()(images)) > 1e-3
        mine, theirs = ours.backbone.layer2[1], oracle.backbone.layer2[1]
        out = F.relu(mine.bn1(mine.conv1(x := torch.cat([x, x], 1))))
        out = mine.bn3(mine.conv3(F.relu(mine.bn2(mine.conv2(out)))))
        by_hand = F.relu(theirs.nonlocal_block(theirs.context_block(out)) + x)
        assert_close(mine(x), by_hand, 1e-9)
        assert_close(theirs(x), F.relu(theirs.nonlocal_block(out) + x), 1e-9)


def test_statistics_under_activation_checkpointing():
    """The oracle updates running means twice a step where activations are computed again; ours once."""
    plain, checkpointed = small_model(), small_model(with_cp=True)
    ours, oracle = pair(checkpointed)
    same_weights(ours, oracle)
    reference = build("oracle", plain).double()
    same_weights(build("ours", plain), reference)
    for side, model in (("ours", ours), ("oracle", oracle), ("oracle", reference)):
        images, samples = batch(side, (33, 41), 5)
        losses = model.train().loss(images, samples)
        sum(value for key, value in losses.items() if "loss" in key).backward()
    assert_same_gradients(ours, oracle, 1e-9)
    name = "backbone.layer1.0.bn1.running_mean"
    assert error(oracle.state_dict()[name], reference.state_dict()[name]) > 1e-3
    for key, value in reference.state_dict().items():
        assert_close(ours.state_dict()[key], value, 1e-9, key)


def test_logged_accuracy_of_one_channel():
    """The oracle takes the arg-max over one channel, which is always 0; ours applies the head's threshold."""
    head = dict(
        type="FCNHead", num_classes=2, out_channels=1, threshold=0.4,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=True),
    )  # fmt: skip
    ours, oracle = pair(small_model(head)["decode_head"])
    logits, label, _ = inputs(classes=1)
    found = ours.loss_by_feat(logits, [sample("ours", mark) for mark in label])
    expected = oracle.loss_by_feat(logits, [sample("oracle", mark) for mark in label])
    counts = label != 255
    assert expected["acc_seg"].item() == pytest.approx(100 * (label[counts] == 0).double().mean().item(), rel=1e-5)
    guess = (logits[:, 0].sigmoid() > 0.4).long()
    right = (guess == label)[counts].double().mean().item()
    assert found["acc_seg"].item() == pytest.approx(100 * right, rel=1e-5)
    assert_close(found["loss_ce"], expected["loss_ce"], 1e-6)


def test_metric_values_are_not_rounded():
    """So that save_best tells apart what differs in the third decimal; a misspelt argument is an error."""
    rng = np.random.default_rng(0)
    found = {}
    for side in ("ours", "oracle"):
        metric = build(side, dict(type="IoUMetric"), "METRICS")
        metric.dataset_meta = dict(classes=tuple("abcd"))
        rng = np.random.default_rng(0)
        pred, label = (torch.as_tensor(rng.integers(0, 4, (1, 30, 40))) for _ in range(2))
        metric.process({}, [dict(pred_sem_seg=dict(data=pred), gt_sem_seg=dict(data=label))])
        found[side] = metric.evaluate(1)
    assert found["ours"]["mIoU"] != found["oracle"]["mIoU"]
    assert round(found["ours"]["mIoU"], 2) == pytest.approx(float(found["oracle"]["mIoU"]), abs=1e-6)
    build("oracle", dict(type="IoUMetric", ignore_indx=0), "METRICS")
    with pytest.raises(TypeError, match="ignore_index"):
        build("ours", dict(type="IoUMetric", ignore_indx=0), "METRICS")
