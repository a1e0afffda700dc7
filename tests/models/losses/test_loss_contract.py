"""What every loss promises: ignored pixels, reductions, names, options that have an effect, errors that help."""

import json

import numpy as np
import pytest
import torch

from gcseg.models import losses as L
from gcseg.registry import MODELS
from gcseg.utils.errors import ConfigError

LOSSES = ["CrossEntropyLoss", "DiceLoss", "FocalLoss", "LovaszLoss", "TverskyLoss"]
every_loss = pytest.mark.parametrize("name", LOSSES)


def data(classes=4):
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(2, classes, 6, 5, dtype=torch.float64, generator=g)
    label = torch.randint(0, classes, (2, 6, 5), generator=g)
    label[:, :2] = 255
    return logits, label


@every_loss
def test_built_from_a_config_with_defaults(name):
    loss = MODELS.build(dict(type=name))
    logits, label = data()
    value = loss(logits, label)
    assert value.shape == () and value > 0
    assert loss.loss_name.startswith("loss_")
    assert loss.starts_from_cross_entropy is (name == "CrossEntropyLoss")
    assert MODELS.build(dict(type=name, loss_name="loss_mine")).loss_name == "loss_mine"


@every_loss
def test_ignored_pixels_have_no_say(name):
    logits, label = data()
    logits.requires_grad_()
    loss = MODELS.build(dict(type=name))
    (gradient,) = torch.autograd.grad(loss(logits, label), logits)
    assert torch.equal(gradient[:, :, :2], torch.zeros_like(gradient[:, :, :2]))
    assert (gradient[:, :, 2:] != 0).any()
    other = logits.detach().clone()
    other[:, :, :2] = torch.randn_like(other[:, :, :2]) * 9
    assert loss(other, label).item() == pytest.approx(loss(logits, label).item(), rel=1e-12)


@every_loss
@pytest.mark.parametrize("ignore_index", [255, 254, -1])
def test_the_ignore_index_of_the_call_counts(name, ignore_index):
    logits, label = data()
    moved = label.masked_fill(label == 255, ignore_index)
    loss = MODELS.build(dict(type=name))
    assert loss(logits, moved, ignore_index=ignore_index).item() == pytest.approx(
        loss(logits, label, ignore_index=255).item()
    )


@every_loss
def test_everything_ignored_is_finite_with_zero_gradient(name):
    logits, label = data()
    logits.requires_grad_()
    for options in (dict(), dict(avg_non_ignore=True)) if name == "CrossEntropyLoss" else (dict(),):
        value = MODELS.build(dict(type=name, **options))(logits, torch.full_like(label, 255))
        (gradient,) = torch.autograd.grad(value, logits)
        assert torch.isfinite(value) and torch.equal(gradient, torch.zeros_like(gradient))


@every_loss
def test_loss_weight_and_reductions(name):
    logits, label = data()
    options = dict(per_image=True) if name == "LovaszLoss" else {}
    each = MODELS.build(dict(type=name, reduction="none", **options))(logits, label)
    assert each.ndim > 0
    total = MODELS.build(dict(type=name, reduction="sum", loss_weight=3.0, **options))(logits, label)
    assert total.item() == pytest.approx(3 * each.sum().item())
    mean = MODELS.build(dict(type=name, **options))
    assert mean(logits, label).item() == pytest.approx(each.mean().item(), rel=1e-6)
    assert mean(logits, label, reduction_override="sum").item() == pytest.approx(each.sum().item())
    assert mean(logits, label, avg_factor=7).item() == pytest.approx(each.sum().item() / 7, rel=1e-6)
    with pytest.raises(ValueError, match="avg_factor"):
        mean(logits, label, avg_factor=7, reduction_override="sum")
    with pytest.raises(ConfigError, match="'average'"):
        mean(logits, label, reduction_override="average")


@every_loss
def test_gradients_are_right(name):
    logits, label = data()
    logits, label = logits[:, :, 1:4, :3].clone().requires_grad_(), label[:, 1:4, :3]
    loss = MODELS.build(dict(type=name))
    assert torch.autograd.gradcheck(lambda x: loss(x, label), logits)


@every_loss
def test_labels_of_another_size_are_refused(name):
    logits, label = data()
    with pytest.raises(ValueError, match=r"\(2, 4, 6, 5\).*\(2, 3, 5\)"):
        MODELS.build(dict(type=name))(logits, label[:, :3])


@pytest.mark.parametrize(
    "option",
    [
        dict(type="CrossEntropyLoss", use_sigmoid=True),
        dict(type="CrossEntropyLoss", class_weight=[1.0, 2.0, 3.0, 4.0]),
        dict(type="CrossEntropyLoss", use_sigmoid=True, class_weight=[1.0, 2.0, 3.0, 4.0]),
        dict(type="CrossEntropyLoss", avg_non_ignore=True),
        dict(type="CrossEntropyLoss", use_sigmoid=True, avg_non_ignore=True),
        dict(type="DiceLoss", use_sigmoid=False),
        dict(type="DiceLoss", activate=False),
        dict(type="DiceLoss", naive_dice=True),
        dict(type="DiceLoss", ignore_index=1),
        dict(type="DiceLoss", eps=1.0),
        dict(type="FocalLoss", gamma=1.0),
        dict(type="FocalLoss", alpha=0.25),
        dict(type="FocalLoss", alpha=[0.1, 0.2, 0.3, 0.4]),
        dict(type="FocalLoss", class_weight=[1.0, 2.0, 3.0, 4.0]),
        dict(type="LovaszLoss", classes=[1]),
        dict(type="LovaszLoss", per_image=True),
        dict(type="LovaszLoss", class_weight=[1.0, 2.0, 3.0, 4.0]),
        dict(type="TverskyLoss", smooth=5),
        dict(type="TverskyLoss", alpha=0.5, beta=0.5),
        dict(type="TverskyLoss", ignore_index=1),
        dict(type="TverskyLoss", class_weight=[1.0, 2.0, 3.0, 4.0]),
    ],
    ids=str,
)
def test_every_option_has_an_effect(option):
    logits, label = data()
    without = {k: v for k, v in option.items() if (k in ("type", "use_sigmoid") and len(option) > 2) or k == "type"}
    changed, plain = (MODELS.build(o)(logits, label).item() for o in (dict(option), without))
    assert changed != pytest.approx(plain, rel=1e-4)


def test_the_mean_divides_by_all_pixels_unless_told_otherwise():
    logits, label = data()
    valid_share = (label != 255).double().mean()
    default, non_ignore = L.CrossEntropyLoss()(logits, label), L.CrossEntropyLoss(avg_non_ignore=True)(logits, label)
    assert default.item() == pytest.approx((non_ignore * valid_share).item(), rel=1e-6)


@pytest.mark.parametrize("avg_non_ignore", [False, True])
def test_class_weights_of_one_are_no_class_weights_and_a_common_factor_cancels(avg_non_ignore):
    logits, label = data()
    plain = L.CrossEntropyLoss(avg_non_ignore=avg_non_ignore)(logits, label)
    ones = L.CrossEntropyLoss(class_weight=[1.0] * 4, avg_non_ignore=avg_non_ignore)(logits, label)
    assert ones.item() == pytest.approx(plain.item(), rel=1e-6)
    weights = [0.5, 1, 2, 3]
    some, same = (
        L.CrossEntropyLoss(class_weight=[k * w for w in weights], avg_non_ignore=avg_non_ignore)(logits, label)
        for k in (1, 5)
    )
    assert some.item() == pytest.approx(same.item(), rel=1e-6) and some.item() != pytest.approx(plain.item())


@pytest.mark.parametrize("name", ["CrossEntropyLoss", "FocalLoss", "DiceLoss"])
def test_pixels_of_weight_zero_have_no_gradient(name):
    logits, label = data()
    logits.requires_grad_()
    weight = (torch.rand(label.shape, generator=torch.Generator().manual_seed(1)) < 0.5).double()
    for sigmoid in (dict(), dict(use_sigmoid=True)) if name == "CrossEntropyLoss" else (dict(),):
        loss = MODELS.build(dict(type=name, **sigmoid))(logits, label, weight=weight)
        (gradient,) = torch.autograd.grad(loss, logits)
        silent = ((weight == 0) | (label == 255)).unsqueeze(1).expand_as(gradient)
        assert torch.equal(gradient == 0, silent)


def test_weights_per_image_for_dice_and_flat_ones_for_focal():
    logits, label = data()
    dice = L.DiceLoss(reduction="none")
    torch.testing.assert_close(
        dice(logits, label, weight=torch.tensor([0.5, 2.0])), dice(logits, label) * torch.tensor([0.5, 2.0]).double()
    )
    weight = torch.rand(label.shape)
    focal = L.FocalLoss()
    assert focal(logits, label, weight=weight.flatten()) == focal(logits, label, weight=weight)
    with pytest.raises(ValueError, match="one per pixel"):
        focal(logits, label, weight=torch.ones(3))


@pytest.mark.parametrize("name", ["LovaszLoss", "TverskyLoss"])
def test_region_losses_say_that_they_use_no_pixel_weights(name):
    logits, label = data()
    with pytest.warns(UserWarning, match="pixel weights"):
        MODELS.build(dict(type=name))(logits, label, weight=torch.ones(label.shape))


def test_targets_may_be_one_hot():
    logits, label = data()
    label = label.masked_fill(label == 255, 0)
    target = torch.nn.functional.one_hot(label, 4).permute(0, 3, 1, 2)
    for loss in (L.CrossEntropyLoss(use_sigmoid=True), L.DiceLoss(), L.FocalLoss()):
        assert loss(logits, target).item() == pytest.approx(loss(logits, label).item())


@pytest.mark.parametrize("ending", ["json", "yaml", "txt", "npy"])
def test_class_weights_from_a_file(tmp_path, ending):
    path = tmp_path / f"weights.{ending}"
    weights = [0.25, 1.0, 2.0, 4.0]
    if ending == "npy":
        np.save(path, np.array(weights, dtype=np.float32))
    else:
        path.write_text(json.dumps(weights) if ending != "txt" else "0.25, 1.0\n2 4.0\n")
    logits, label = data()
    assert L.CrossEntropyLoss(class_weight=str(path)).class_weight == weights
    assert L.FocalLoss(class_weight=path)(logits, label) == L.FocalLoss(class_weight=weights)(logits, label)


def test_a_pickle_is_never_opened(tmp_path):
    path = tmp_path / "weights.pkl"
    path.write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(ConfigError, match="execute"):
        L.CrossEntropyLoss(class_weight=str(path))
    np.save(tmp_path / "objects.npy", np.array([{}, None], dtype=object))
    with pytest.raises(ConfigError, match="cannot be read"):
        L.CrossEntropyLoss(class_weight=str(tmp_path / "objects.npy"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(type="CrossEntropyLoss", use_sigmoid=True, use_mask=True), "exclude"),
        (dict(type="CrossEntropyLoss", reduction="avg"), "'none', 'mean', 'sum'"),
        (dict(type="CrossEntropyLoss", class_weight="no/such/file.json"), "no/such/file.json"),
        (dict(type="CrossEntropyLoss", class_weight=[1.0, float("nan")]), "finite"),
        (dict(type="CrossEntropyLoss", class_weight=[1.0, -1.0]), "at least 0"),
        (dict(type="CrossEntropyLoss", class_weight=["a"]), "one number per class"),
        (dict(type="FocalLoss", use_sigmoid=False), "only True"),
        (dict(type="FocalLoss", alpha=1.5), r"\[0, 1\]"),
        (dict(type="FocalLoss", gamma=-1.0), "at least 0"),
        (dict(type="LovaszLoss", loss_type="hinge"), "'multi_class'"),
        (dict(type="LovaszLoss", classes="some"), "'present'"),
        (dict(type="LovaszLoss", loss_type="binary", class_weight=[1.0]), "no effect"),
        (dict(type="TverskyLoss", alpha=0.3, beta=0.3), "add up to"),
    ],
    ids=str,
)
def test_impossible_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        getattr(L, options.pop("type"))(**options)


@pytest.mark.parametrize(
    ("loss", "classes", "message"),
    [
        (L.CrossEntropyLoss(class_weight=[1.0, 2.0]), 4, "2 numbers.*4 channels"),
        (L.FocalLoss(alpha=[0.5, 0.5]), 4, "2 values.*4 channels"),
        (L.LovaszLoss(loss_type="binary"), 4, "'binary'"),
        (L.LovaszLoss(), 1, "'multi_class'"),
        (L.CrossEntropyLoss(use_mask=True), 4, "class of each mask"),
        (L.DiceLoss(ignore_index=0), 1, "only class"),
    ],
    ids=str,
)
def test_logits_that_do_not_fit_the_options(loss, classes, message):
    logits, label = data(classes)
    with pytest.raises(ValueError, match=message):
        loss(logits, label)


def test_one_channel_takes_two_labels_only():
    with pytest.raises(ValueError, match="labels"):
        L.CrossEntropyLoss(use_sigmoid=True)(torch.zeros(1, 1, 2, 2), torch.full((1, 2, 2), 2))


def test_avg_factor_of_lovasz_needs_images():
    logits, label = data()
    with pytest.raises(ValueError, match="per_image"):
        L.LovaszLoss()(logits, label, avg_factor=2)
