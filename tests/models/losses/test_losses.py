"""Values of the losses, against slow definitions that visit one pixel at a time."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gcseg.models.losses import CrossEntropyLoss, DiceLoss, FocalLoss, LovaszLoss, TverskyLoss, weighted_loss

CLASS_WEIGHT = [0.5, 1.0, 2.0, 0.7]
C = len(CLASS_WEIGHT)
examples = settings(max_examples=12, deadline=None, derandomize=True)
seeds = st.integers(0, 10**6)


def data(seed, ignored=0.3, classes=C, size=(3, 4)):
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, classes, *size, dtype=torch.float64, generator=g)
    label = torch.randint(0, max(classes, 2), (2, *size), generator=g)
    label[torch.rand(label.shape, generator=g) < ignored] = 255
    return logits, label


def pixels(logits, label):
    for n in range(label.shape[0]):
        for i in range(label.shape[1]):
            for j in range(label.shape[2]):
                yield (n, i, j), logits[n, :, i, j].tolist(), int(label[n, i, j])


def softmax(scores):
    total = sum(math.exp(s) for s in scores)
    return [math.exp(s) / total for s in scores]


def sigmoid(score):
    return 1 / (1 + math.exp(-score))


@examples
@given(seeds, st.booleans(), st.booleans())
def test_cross_entropy(seed, weighted, avg_non_ignore):
    logits, label = data(seed)
    total = valid = valid_weight = 0.0
    for _, scores, t in pixels(logits, label):
        if t != 255:
            w = CLASS_WEIGHT[t] if weighted else 1.0
            total, valid, valid_weight = total - w * math.log(softmax(scores)[t]), valid + 1, valid_weight + w
    share = 1 if avg_non_ignore else valid / label.numel()
    loss = CrossEntropyLoss(class_weight=CLASS_WEIGHT if weighted else None, avg_non_ignore=avg_non_ignore)
    assert loss(logits, label).item() == pytest.approx(total / valid_weight * share, rel=1e-6)
    assert loss(logits, label, reduction_override="sum").item() == pytest.approx(total, rel=1e-10)
    per_pixel = loss(logits, label, reduction_override="none")
    assert per_pixel.shape == label.shape and torch.equal(per_pixel == 0, label == 255)


@examples
@given(seeds, st.booleans(), st.booleans())
def test_sigmoid_cross_entropy(seed, weighted, avg_non_ignore):
    logits, label = data(seed)
    total = valid = 0.0
    for _, scores, t in pixels(logits, label):
        for c, score in enumerate(scores):
            if t != 255:
                w = CLASS_WEIGHT[c] if weighted else 1.0
                total -= w * math.log(sigmoid(score)) if c == t else math.log(1 - sigmoid(score))
                valid += 1
    loss = CrossEntropyLoss(
        use_sigmoid=True, class_weight=CLASS_WEIGHT if weighted else None, avg_non_ignore=avg_non_ignore
    )
    divisor = valid if avg_non_ignore else logits.numel()
    assert loss(logits, label).item() == pytest.approx(total / divisor, rel=1e-6)


@examples
@given(seeds)
def test_sigmoid_cross_entropy_of_one_channel(seed):
    logits, label = data(seed, classes=1)
    total = 0.0
    for _, (score,), t in pixels(logits, label):
        if t != 255:
            total -= math.log(sigmoid(score) if t == 1 else 1 - sigmoid(score))
    loss = CrossEntropyLoss(use_sigmoid=True)
    assert loss(logits, label).item() == pytest.approx(total / label.numel(), rel=1e-6)
    assert loss(logits, label, reduction_override="none").shape == label.shape


@examples
@given(seeds, st.booleans())
def test_mask_cross_entropy(seed, weighted):
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, C, 2, 2, dtype=torch.float64, generator=g)
    target = torch.rand(3, 2, 2, dtype=torch.float64, generator=g)
    classes = torch.tensor([2, 0, 3])
    total = 0.0
    for n in range(3):
        for i in range(2):
            for j in range(2):
                p, t = sigmoid(logits[n, classes[n], i, j].item()), target[n, i, j].item()
                w = CLASS_WEIGHT[classes[n]] if weighted else 1
                total -= w * (t * math.log(p) + (1 - t) * math.log(1 - p))
    loss = CrossEntropyLoss(use_mask=True, class_weight=CLASS_WEIGHT if weighted else None)
    assert loss(logits, target, classes, ignore_index=None).item() == pytest.approx(total / 12, rel=1e-9)


@examples
@given(seeds, st.booleans(), st.booleans(), st.sampled_from([255, 1]))
def test_dice(seed, use_sigmoid, naive, ignored_class):
    logits, label = data(seed)
    sums = [[0.0, 0.0, 0.0] for _ in range(2)]
    for (n, _, _), scores, t in pixels(logits, label):
        probs = [sigmoid(s) for s in scores] if use_sigmoid else softmax(scores)
        for c, p in enumerate(probs):
            if t != 255 and c != ignored_class:
                sums[n][0] += p * (c == t)
                sums[n][1] += p if naive else p * p
                sums[n][2] += c == t
    eps = 0.01
    wanted = [1 - (2 * pt + eps) / (p + t + eps) if naive else 1 - 2 * pt / (p + t + 2 * eps) for pt, p, t in sums]
    loss = DiceLoss(use_sigmoid=use_sigmoid, naive_dice=naive, eps=eps, ignore_index=ignored_class, reduction="none")
    assert loss(logits, label).tolist() == pytest.approx(wanted, rel=1e-10)


@examples
@given(seeds, st.sampled_from([0.0, 1.0, 2.0]), st.sampled_from([0.25, [0.1, 0.2, 0.3, 0.9]]), st.booleans())
def test_focal(seed, gamma, alpha, weighted):
    logits, label = data(seed)
    wanted = torch.zeros_like(logits)
    for (n, i, j), scores, t in pixels(logits, label):
        for c, score in enumerate(scores):
            a = alpha[c] if isinstance(alpha, list) else alpha
            p = sigmoid(score) if c == t else 1 - sigmoid(score)
            value = -(a if c == t else 1 - a) * (1 - p) ** gamma * math.log(p)
            wanted[n, c, i, j] = 0 if t == 255 else value * (CLASS_WEIGHT[c] if weighted else 1)
    loss = FocalLoss(gamma=gamma, alpha=alpha, class_weight=CLASS_WEIGHT if weighted else None)
    torch.testing.assert_close(loss(logits, label, reduction_override="none"), wanted, rtol=1e-9, atol=1e-12)
    assert loss(logits, label).item() == pytest.approx(wanted.mean().item(), rel=1e-9)


def test_focal_of_one_channel_tells_label_one_from_zero():
    logits, label = data(0, classes=1)
    two = FocalLoss(reduction="none")(logits, label).squeeze(1)
    p = logits.squeeze(1).sigmoid()
    wanted = torch.where(label == 1, -0.5 * (1 - p) ** 2 * p.log(), -0.5 * p**2 * (1 - p).log()) * (label != 255)
    torch.testing.assert_close(two, wanted)


@examples
@given(seeds, st.booleans(), st.sampled_from([255, 2]))
def test_tversky(seed, weighted, ignored_class):
    logits, label = data(seed)
    hit, false_pos, false_neg = (torch.zeros(2, C, dtype=torch.float64) for _ in range(3))
    for (n, _, _), scores, t in pixels(logits, label):
        for c, p in enumerate(softmax(scores)):
            if t not in (255, ignored_class):
                hit[n, c] += p * (c == t)
                false_pos[n, c] += p * (c != t)
                false_neg[n, c] += (1 - p) * (c == t)
    index = (hit + 0.5) / (hit + 0.4 * false_pos + 0.6 * false_neg + 0.5)
    per_class = (1 - index) * (torch.tensor(CLASS_WEIGHT, dtype=torch.float64) if weighted else 1)
    per_class[:, [c for c in range(C) if c == ignored_class]] = 0
    loss = TverskyLoss(
        smooth=0.5, alpha=0.4, beta=0.6, ignore_index=ignored_class, class_weight=CLASS_WEIGHT if weighted else None
    )
    assert loss(logits, label, ignore_index=255).item() == pytest.approx(per_class.mean().item(), rel=1e-9)
    rows = loss(logits, label, ignore_index=255, reduction_override="none")
    torch.testing.assert_close(rows, per_class.mean(1))


def jaccard_loss_of_a_set(mispredicted, truth):
    """1 - IoU when exactly these pixels are mispredicted."""
    union = len(set(truth) | set(mispredicted))
    return len(mispredicted) / union if union else 0.0


def lovasz_by_definition(errors, truth):
    """Integral of the set function over the level sets of the errors."""
    order = sorted(range(len(errors)), key=lambda i: -errors[i])
    total, previous = 0.0, 0.0
    for k in range(1, len(order) + 1):
        value = jaccard_loss_of_a_set(order[:k], truth)
        total, previous = total + errors[order[k - 1]] * (value - previous), value
    return total


def lovasz_softmax(entries, classes, weighted):
    losses = []
    for c in range(C) if isinstance(classes, str) else classes:
        truth = [i for i, (_, t) in enumerate(entries) if t == c]
        if classes == "present" and not truth:
            continue
        errors = [abs((t == c) - softmax(scores)[c]) for scores, t in entries]
        losses.append(lovasz_by_definition(errors, truth) * (CLASS_WEIGHT[c] if weighted else 1))
    return sum(losses) / len(losses)


@examples
@given(seeds, st.sampled_from(["present", "all", [0, 3]]), st.booleans(), st.booleans())
def test_lovasz_softmax(seed, classes, weighted, per_image):
    logits, label = data(seed)
    label[label == 1] = 2
    entries = [(n, scores, t) for (n, _, _), scores, t in pixels(logits, label) if t != 255]
    groups = [[(s, t) for n, s, t in entries if n == image or not per_image] for image in range(2)]
    wanted = [lovasz_softmax(group, classes, weighted) for group in groups]
    loss = LovaszLoss(classes=classes, per_image=per_image, class_weight=CLASS_WEIGHT if weighted else None)
    assert loss(logits, label).item() == pytest.approx(sum(wanted) / 2, rel=1e-9)
    if per_image:
        assert loss(logits, label, reduction_override="none").tolist() == pytest.approx(wanted, rel=1e-9)


@examples
@given(seeds)
def test_lovasz_hinge(seed):
    logits, label = data(seed, classes=1)
    entries = [(scores[0], t) for _, scores, t in pixels(logits, label) if t != 255]
    errors = [max(0.0, 1 - (score if t else -score)) for score, t in entries]
    wanted = lovasz_by_definition(errors, [i for i, (_, t) in enumerate(entries) if t])
    assert LovaszLoss(loss_type="binary")(logits, label).item() == pytest.approx(wanted, rel=1e-9)
    assert LovaszLoss(loss_type="binary")(logits.squeeze(1), label).item() == pytest.approx(wanted, rel=1e-9)


def test_a_perfect_prediction_has_no_region_loss():
    label = torch.randint(0, C, (1, 5, 5))
    logits = 60 * torch.nn.functional.one_hot(label, C).permute(0, 3, 1, 2).double() - 30
    for loss in (DiceLoss(eps=1e-9), TverskyLoss(), LovaszLoss(), FocalLoss(), CrossEntropyLoss()):
        assert loss(logits, label).item() == pytest.approx(0, abs=1e-6)


def test_weighted_loss_gives_a_function_the_reductions():
    @weighted_loss
    def absolute(pred, target, scale=1.0):
        """Distances."""
        return scale * (pred - target).abs()

    pred, target, weight = torch.tensor([1.0, 5.0, 2.0]), torch.zeros(3), torch.tensor([1.0, 0.0, 2.0])
    assert absolute(pred, target) == pytest.approx(8 / 3)
    assert absolute(pred, target, weight, reduction="none", scale=2.0).tolist() == [2, 0, 8]
    assert absolute(pred, target, weight, "sum") == 5
    assert absolute(pred, target, weight, avg_factor=2) == pytest.approx(2.5)
    assert absolute.__name__ == "absolute" and absolute.__doc__ == "Distances."
    with pytest.raises(ValueError, match="avg_factor"):
        absolute(pred, target, reduction="sum", avg_factor=2)
