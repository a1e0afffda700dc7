"""Every loss, option and reduction: value and gradient in float64 to 1e-9 (float32 to 1e-5)."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from parity_tools import assert_close, build, in_double, pair, sample, small_model

CLASSES = 4
SHAPE = (2, CLASSES, 9, 11)
CLASS_WEIGHT = [0.5, 1.0, 2.0, 0.25]


def inputs(dtype=torch.float64, ignored: float = 0.2, classes: int = CLASSES, seed: int = 0):
    """Logits (2, classes, 9, 11), labels (2, 9, 11) and weights per pixel (2, 9, 11)."""
    rng = np.random.default_rng(seed)
    logits = torch.as_tensor(rng.normal(0, 2, (SHAPE[0], classes, *SHAPE[2:])), dtype=dtype)
    label = torch.as_tensor(rng.integers(0, max(classes, 2), (SHAPE[0], *SHAPE[2:])))
    label[torch.as_tensor(rng.random(label.shape) < ignored)] = 255
    weight = torch.as_tensor((rng.random(label.shape) < 0.7) * 2.0, dtype=dtype)
    return logits, label, weight


def value_and_gradient(loss, logits, label, **kwargs):
    """Elements of an unreduced loss enter with different weights, so that none can stand in for another."""
    side = "ours" if type(loss).__module__.startswith("gcseg") else "oracle"
    logits = logits.clone().requires_grad_()
    with in_double(side, logits.dtype):
        value = loss(logits, label, **kwargs)
        (value * torch.linspace(0.5, 1.5, value.numel(), dtype=value.dtype).view_as(value)).sum().backward()
    assert value.dtype == logits.dtype
    return value.detach(), logits.grad


def agree(cfg, logits, label, rtol, **kwargs):
    ours, oracle = pair(cfg)
    assert ours.loss_name == oracle.loss_name
    found = value_and_gradient(ours, logits, label, **kwargs)
    expected = value_and_gradient(oracle, logits, label, **kwargs)
    assert expected[1].abs().max() > 0
    assert_close(found[0], expected[0], rtol, f"value of {cfg}")
    assert_close(found[1], expected[1], rtol, f"gradient of {cfg}")


PRECISION = {"float64": (torch.float64, 1e-9), "float32": (torch.float32, 1e-5)}


@pytest.mark.parametrize("precision", PRECISION)
@pytest.mark.parametrize("use_sigmoid", [False, True], ids=["softmax", "sigmoid"])
def test_cross_entropy(use_sigmoid, precision):
    """Reductions x averages x pixel weights x divisor x override, with ignored pixels."""
    dtype, rtol = PRECISION[precision]
    logits, label, weight = inputs(dtype)
    options = itertools.product(
        ["mean", "sum", "none"], [False, True], [False, True], [None, 37.0], [None, "mean", "none", "sum"], [255, 1]
    )
    compared = 0
    for reduction, avg_non_ignore, weighted, avg_factor, override, ignore_index in options:
        if avg_factor is not None and (override or reduction) == "sum":
            continue
        cfg = dict(
            type="CrossEntropyLoss",
            use_sigmoid=use_sigmoid,
            reduction=reduction,
            avg_non_ignore=avg_non_ignore,
            loss_weight=0.7,
        )
        kwargs = dict(
            weight=weight if weighted else None,
            avg_factor=avg_factor,
            reduction_override=override,
            ignore_index=ignore_index,
        )
        labels = torch.where(label == 255, 1, label) if ignore_index == 1 else label
        agree(cfg, logits, labels, rtol, **kwargs)
        compared += 1
    assert compared > 100


@pytest.mark.parametrize("precision", PRECISION)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_class_weights(reduction, precision, tmp_path):
    """Without ignored pixels, where the oracle is right; from a list and from a file."""
    dtype, rtol = PRECISION[precision]
    logits, label, weight = inputs(dtype, ignored=0.0 if reduction == "mean" else 0.2)
    np.save(tmp_path / "weights.npy", np.array(CLASS_WEIGHT))
    for class_weight in (CLASS_WEIGHT, str(tmp_path / "weights.npy")):
        cfg = dict(type="CrossEntropyLoss", class_weight=class_weight, reduction=reduction)
        for pixel_weight in (None, weight):
            agree(cfg, logits, label, rtol, weight=pixel_weight, ignore_index=255)


@pytest.mark.parametrize("avg_non_ignore", [False, True])
def test_one_channel(avg_non_ignore):
    """Binary segmentation: labels 0 and 1 against one logit."""
    logits, label, weight = inputs(classes=1)
    cfg = dict(type="CrossEntropyLoss", use_sigmoid=True, avg_non_ignore=avg_non_ignore)
    oracle, ours = build("oracle", cfg), build("ours", cfg)
    for kwargs in (dict(), dict(weight=weight), dict(reduction_override="none")):
        found = value_and_gradient(ours, logits, label, ignore_index=255, **kwargs)
        expected = value_and_gradient(oracle, logits, label, ignore_index=255, **kwargs)
        assert_close(found[0], expected[0], 1e-9, str(kwargs))
        assert_close(found[1], expected[1], 1e-9, str(kwargs))


def test_mask_cross_entropy():
    """The mask of each object's class."""
    rng = np.random.default_rng(1)
    logits = torch.as_tensor(rng.standard_normal((3, CLASSES, 5, 6)))
    target = torch.as_tensor(rng.integers(0, 2, (3, 5, 6))).double()
    classes = torch.tensor([2, 0, 3])
    cfg = dict(type="CrossEntropyLoss", use_mask=True)
    agree(cfg, logits, target, 1e-9, weight=classes, ignore_index=None)


DICE = {
    "sigmoid": dict(),
    "softmax": dict(use_sigmoid=False),
    "naive": dict(use_sigmoid=False, naive_dice=True),
    "naive_sigmoid_eps": dict(naive_dice=True, eps=0.1),
    "not_activated": dict(activate=False, loss_weight=2.0),
    "sum": dict(reduction="sum"),
    "none": dict(reduction="none"),
}


@pytest.mark.parametrize("precision", PRECISION)
@pytest.mark.parametrize("name", DICE)
def test_dice(name, precision):
    """All options over labels without ignored pixels, where the oracle is right."""
    dtype, rtol = PRECISION[precision]
    logits, label, _ = inputs(dtype, ignored=0.0)
    cfg = dict(type="DiceLoss", **DICE[name])
    agree(cfg, logits, label, rtol)
    agree(cfg, logits, label, rtol, weight=torch.tensor([0.5, 2.0], dtype=dtype))
    agree(cfg, logits, label, rtol, reduction_override="none")
    if DICE[name].get("reduction") != "sum":
        agree(cfg, logits, label, rtol, avg_factor=3.0)
    one_hot = F.one_hot(label, CLASSES).movedim(-1, 1)
    agree(cfg, logits, one_hot, rtol)


FOCAL = {
    "default": dict(),
    "gamma_alpha": dict(gamma=3.0, alpha=0.25),
    "alpha_list": dict(alpha=[0.1, 0.3, 0.6, 0.9]),
    "class_weight": dict(class_weight=CLASS_WEIGHT),
    "sum": dict(reduction="sum", loss_weight=0.1),
    "none": dict(reduction="none"),
}


@pytest.mark.parametrize("precision", PRECISION)
@pytest.mark.parametrize("name", FOCAL)
def test_focal(name, precision):
    """One-hot targets, the only ones that the oracle takes on a CPU; ours gives the same for indices."""
    dtype, rtol = PRECISION[precision]
    logits, label, _ = inputs(dtype, ignored=0.0)
    one_hot = F.one_hot(label, CLASSES).movedim(-1, 1)
    cfg = dict(type="FocalLoss", **FOCAL[name])
    agree(cfg, logits, one_hot, rtol)
    agree(cfg, logits, one_hot, rtol, reduction_override="none")
    if FOCAL[name].get("reduction") != "sum":
        agree(cfg, logits, one_hot, rtol, avg_factor=11.0)
    ours, oracle = pair(cfg)
    found, expected = value_and_gradient(ours, logits, label), value_and_gradient(oracle, logits, one_hot)
    assert_close(found[0], expected[0], rtol, "index labels against one-hot labels")
    assert_close(found[1], expected[1], rtol, "index labels against one-hot labels, gradient")


LOVASZ = {
    "batch": dict(reduction="none"),
    "batch_all": dict(reduction="none", classes="all"),
    "batch_list": dict(reduction="none", classes=[1, 3]),
    "batch_class_weight": dict(reduction="none", class_weight=CLASS_WEIGHT, loss_weight=0.3),
    "image": dict(per_image=True),
    "image_sum": dict(per_image=True, reduction="sum", classes="all"),
    "image_none": dict(per_image=True, reduction="none"),
}


@pytest.mark.parametrize("precision", PRECISION)
@pytest.mark.parametrize("name", LOVASZ)
def test_lovasz(name, precision):
    """All options, with ignored pixels."""
    dtype, rtol = PRECISION[precision]
    logits, label, _ = inputs(dtype)
    agree(dict(type="LovaszLoss", **LOVASZ[name]), logits, label, rtol, ignore_index=255)
    if LOVASZ[name].get("per_image"):
        agree(dict(type="LovaszLoss", **LOVASZ[name]), logits, label, rtol, reduction_override="none")


@pytest.mark.parametrize("precision", PRECISION)
@pytest.mark.parametrize("per_image", [False, True])
def test_lovasz_hinge(per_image, precision):
    """The binary form over one logit per pixel."""
    dtype, rtol = PRECISION[precision]
    logits, label, _ = inputs(dtype, classes=1)
    cfg = dict(type="LovaszLoss", loss_type="binary", per_image=per_image, reduction="mean" if per_image else "none")
    agree(cfg, logits[:, 0], label, rtol, ignore_index=255)


TVERSKY = {
    "default": dict(),
    "half": dict(alpha=0.5, beta=0.5, smooth=3),
    "class_weight": dict(class_weight=CLASS_WEIGHT, loss_weight=0.4),
    "class_ignored": dict(ignore_index=2),
}


@pytest.mark.parametrize("precision", PRECISION)
@pytest.mark.parametrize("name", TVERSKY)
def test_tversky(name, precision):
    """With ignored pixels."""
    dtype, rtol = PRECISION[precision]
    logits, label, _ = inputs(dtype, ignored=0.0 if "ignore_index" in TVERSKY[name] else 0.2)
    agree(
        dict(type="TverskyLoss", **TVERSKY[name]),
        logits,
        label,
        rtol,
        ignore_index=TVERSKY[name].get("ignore_index", 255),
    )


@pytest.mark.parametrize("name", ["CrossEntropyLoss", "TverskyLoss"])
def test_everything_ignored(name):
    """A batch without a single label: the same number, and no gradient."""
    logits, label, _ = inputs()
    ours, oracle = pair(dict(type=name))
    found = value_and_gradient(ours, logits, torch.full_like(label, 255), ignore_index=255)
    expected = value_and_gradient(oracle, logits, torch.full_like(label, 255), ignore_index=255)
    assert_close(found[0], expected[0], 1e-9)
    assert_close(found[1], expected[1], 1e-9)


SAMPLERS = {
    "top": dict(min_kept=30),
    "top_all": dict(min_kept=10_000),
    "threshold": dict(thresh=0.2, min_kept=10),
    "threshold_low": dict(thresh=0.01, min_kept=30),
    "threshold_all": dict(thresh=0.9, min_kept=10_000),
}


@pytest.mark.parametrize("losses", [1, 2])
@pytest.mark.parametrize("name", SAMPLERS)
def test_ohem_sampler(name, losses):
    """The same pixels are kept, and the loss over them is the same."""
    sampler = dict(type="OHEMPixelSampler", **SAMPLERS[name])
    decode = [dict(type="CrossEntropyLoss"), dict(type="CrossEntropyLoss", loss_weight=0.5, avg_non_ignore=True)][
        :losses
    ]
    head = small_model(dict(sampler=sampler, loss_decode=decode), num_classes=CLASSES)["decode_head"]
    ours, oracle = pair(head)
    logits, label, _ = inputs()
    for marks in (label, torch.full_like(label, 255)):
        theirs = oracle.sampler.sample(logits, marks[:, None])
        assert torch.equal(ours.sampler.sample(logits, marks[:, None]).double(), theirs.double())
    found = ours.loss_by_feat(logits, [sample("ours", mark) for mark in label])
    with in_double("oracle"):
        expected = oracle.loss_by_feat(logits, [sample("oracle", mark) for mark in label])
    assert set(found) == set(expected)
    assert_close(found["loss_ce"], expected["loss_ce"], 1e-9)


@pytest.mark.parametrize("topk", [1, (1, 3)])
@pytest.mark.parametrize("ignore_index", [None, 255])
def test_accuracy(topk, ignore_index):
    """Per cent of the pixels that count."""
    from mmseg.models.losses import accuracy as oracle

    from gcseg.models.losses import accuracy as ours

    logits, label, _ = inputs(torch.float32)
    found, expected = ours(logits, label, topk, None, ignore_index), oracle(logits, label, topk, None, ignore_index)
    found, expected = (v if isinstance(v, list) else [v] for v in (found, expected))
    for mine, theirs in zip(found, expected, strict=True):
        assert_close(mine.reshape(-1), theirs.reshape(-1), 1e-6)
