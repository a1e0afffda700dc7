"""The strip-wise forms against the naive composition, and that they are strip-wise."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from gcseg.ops import add_probabilities, bilinear_map, restore_logits, upsample_argmax, upsample_cross_entropy


class LargestTensor(TorchDispatchMode):
    """Remembers the number of elements of the largest floating tensor that any operation returned."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (list, tuple)) else [out]:
            if isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
                self.largest = max(self.largest, tensor.numel())
        return out


@pytest.fixture
def small_strips(monkeypatch):
    monkeypatch.setitem(bilinear_map._STRIP_BYTES, "cpu", 3000)
    monkeypatch.setattr(bilinear_map, "_COLUMN_BLOCK", 7)


def naive(logits, label, align_corners, weight):
    full = F.interpolate(logits, size=label.shape[1:], mode="bilinear", align_corners=align_corners)
    return full, F.cross_entropy(full, label, weight=weight, ignore_index=255, reduction="none")


sizes = st.tuples(st.integers(1, 12), st.integers(1, 12))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(1, 6), sizes, st.tuples(st.integers(1, 40), st.integers(1, 40)),
       st.booleans(), st.booleans(), st.booleans(), st.sampled_from([300, 3000, 10**6]), st.sampled_from([7, 512]),
       st.sampled_from([0.0, 0.3, 1.0]))  # fmt: skip
def test_loss_and_gradient_of_any_size(
    seed, classes, size, out, align_corners, weighted, uniform, strip_bytes, block, ignored
):
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, classes, *size, dtype=torch.float64, generator=g, requires_grad=True)
    label = torch.randint(0, classes, (2, *out), generator=g)
    label[torch.rand(label.shape, generator=g) < ignored] = 255
    weight = torch.rand(classes, dtype=torch.float64, generator=g) if weighted else None
    factor = 0.7 if uniform else torch.rand(label.shape, dtype=torch.float64, generator=g)
    full, loss = naive(logits, label, align_corners, weight)
    (wanted,) = torch.autograd.grad((loss * factor).sum(), logits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(bilinear_map._STRIP_BYTES, "cpu", strip_bytes)
        patch.setattr(bilinear_map, "_COLUMN_BLOCK", block)
        got = upsample_cross_entropy(logits, label, align_corners=align_corners, class_weight=weight)
        total = got.loss.sum() * factor if uniform else (got.loss * factor).sum()
        (gradient,) = torch.autograd.grad(total, logits)
    torch.testing.assert_close(got.loss, loss.detach(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(gradient, wanted, rtol=1e-9, atol=1e-9)
    top = full.softmax(1).max(1)
    torch.testing.assert_close(got.prob, top.values.detach(), rtol=1e-9, atol=1e-9)
    picked = full.gather(1, got.pred.unsqueeze(1).long()).squeeze(1)
    torch.testing.assert_close(picked, full.max(1).values, rtol=0, atol=1e-12)


@pytest.mark.parametrize("classes, dtype", [(1, torch.uint8), (256, torch.uint8), (257, torch.int64)])
def test_the_class_is_kept_in_the_type_that_holds_it(classes, dtype):
    logits = torch.zeros(1, classes, 2, 2)
    logits[:, -1] = 1
    got = upsample_cross_entropy(logits, torch.zeros(1, 4, 4, dtype=torch.int64), with_prob=False)
    assert got.pred.dtype == dtype
    assert (got.pred == classes - 1).all()
    assert got.prob is None


def test_float32_is_within_1e_5_of_the_two_steps():
    g = torch.Generator().manual_seed(0)
    logits = (torch.randn(2, 19, 33, 47, generator=g) * 5).requires_grad_()
    label = torch.randint(0, 19, (2, 257, 370), generator=g)
    _, loss = naive(logits, label, False, None)
    (wanted,) = torch.autograd.grad(loss.mean(), logits)
    got = upsample_cross_entropy(logits, label)
    (gradient,) = torch.autograd.grad(got.loss.sum() / label.numel(), logits)
    torch.testing.assert_close(got.loss, loss.detach(), rtol=1e-5, atol=1e-5)
    assert (gradient - wanted).abs().max() < 1e-5 * wanted.abs().max()


def test_no_operation_makes_the_resized_logits(small_strips):
    logits = torch.randn(1, 8, 16, 16, requires_grad=True)
    label = torch.randint(0, 8, (1, 128, 128))
    full = 8 * 128 * 128
    with LargestTensor() as seen:
        upsample_cross_entropy(logits, label).loss.sum().backward()
    assert 0 < seen.largest <= full / 8
    with LargestTensor() as seen:
        upsample_argmax(logits.detach(), (128, 128), input_size=(120, 120))
    assert 0 < seen.largest <= full / 8
    total = torch.zeros(8, 128, 128)
    with LargestTensor() as seen:
        add_probabilities(total, logits[0].detach())
    assert 0 < seen.largest <= full  # the sum itself, seen as a view
    with LargestTensor() as seen:
        naive(logits, label, False, None)
    assert seen.largest == full


def test_the_usual_gradient_does_not_go_over_the_strips_again(monkeypatch):
    calls = []
    monkeypatch.setattr(
        bilinear_map.BilinearMap, "apply", lambda *a, real=bilinear_map.BilinearMap.apply: calls.append(1) or real(*a)
    )
    logits, label = torch.randn(1, 3, 4, 4, requires_grad=True), torch.randint(0, 3, (1, 8, 8))
    loss = upsample_cross_entropy(logits, label).loss
    assert len(calls) == 1
    (loss.sum() / 3).backward()
    assert len(calls) == 1
    (upsample_cross_entropy(logits, label).loss * torch.rand(1, 8, 8)).sum().backward()
    assert len(calls) == 3


def test_a_pixel_that_is_ignored_has_no_say_even_if_it_is_not_finite():
    logits = torch.zeros(1, 2, 2, 4)
    logits[..., 0] = torch.nan
    label = torch.tensor([[[255, 0, 1, 0]] * 2])
    got = upsample_cross_entropy(logits, label)
    assert got.loss[0, :, 0].tolist() == [0, 0] and got.loss[0, :, 1:].isfinite().all()


def test_everything_ignored_and_low_matmul_precision():
    logits = torch.randn(1, 5, 9, 9, requires_grad=True)
    label = torch.full((1, 30, 31), 255)
    upsample_cross_entropy(logits, label).loss.sum().backward()
    assert torch.equal(logits.grad, torch.zeros_like(logits))
    label.random_(0, 5)
    exact = upsample_cross_entropy(logits, label).loss
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        assert bilinear_map.working_dtype(logits) == torch.float64
        torch.testing.assert_close(upsample_cross_entropy(logits, label).loss, exact, rtol=1e-5, atol=1e-5)
    finally:
        torch.set_float32_matmul_precision(before)


def test_autocast_changes_nothing():
    logits, label = torch.randn(1, 5, 9, 9).bfloat16(), torch.randint(0, 5, (1, 30, 31))
    exact = upsample_cross_entropy(logits, label)
    logits.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        got = upsample_cross_entropy(logits, label)
        got.loss.sum().backward()
    assert torch.equal(got.loss, exact.loss) and got.loss.dtype == torch.float32 and logits.grad.dtype == torch.bfloat16


def test_a_label_that_is_no_class_is_named():
    with pytest.raises(ValueError, match=r"labels \[7\] are outside \[0, 5\)"):
        upsample_cross_entropy(torch.zeros(1, 5, 2, 2), torch.full((1, 4, 4), 7))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(1, 4), sizes, st.tuples(st.integers(4, 30), st.integers(4, 30)),
       st.tuples(st.integers(1, 40), st.integers(1, 40)), st.tuples(*[st.integers(0, 1)] * 4),
       st.sampled_from([None, "horizontal", "vertical", "diagonal"]), st.booleans())  # fmt: skip
def test_argmax_and_probabilities_of_any_restoration(seed, classes, size, middle, out, padding, flip, align_corners):
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, classes, *size, dtype=torch.float64, generator=g)
    options = dict(align_corners=align_corners, input_size=middle, padding=padding, flip=flip)
    full = restore_logits(logits, out, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(bilinear_map._STRIP_BYTES, "cpu", 2000)
        patch.setattr(bilinear_map, "_COLUMN_BLOCK", 5)
        if classes > 1:
            pred = upsample_argmax(logits, out, **options)
            picked = full.gather(1, pred.unsqueeze(1)).squeeze(1)
            torch.testing.assert_close(picked, full.max(1).values, rtol=0, atol=1e-12)
        total = torch.ones(classes, *out, dtype=torch.float64)
        add_probabilities(total, logits[1], **options)
    wanted = full[1].softmax(0) if classes > 1 else full[1].sigmoid()
    torch.testing.assert_close(total, wanted + 1, rtol=1e-10, atol=1e-10)


def test_probabilities_of_another_model_are_refused():
    with pytest.raises(ValueError, match="3 channels and the logits 2"):
        add_probabilities(torch.zeros(3, 4, 4), torch.zeros(2, 4, 4))


@pytest.mark.parametrize("classes", [1, 2, 255, 256, 300])
def test_first_maximum_is_the_first(classes):
    from gcseg.ops.first_maximum import first_maximum

    scores = torch.randint(0, 3, (2, classes, 5), generator=torch.Generator().manual_seed(0)).float()
    top, index = first_maximum(scores)
    for row in range(2):
        for x in range(5):
            column = scores[row, :, x].tolist()
            assert index[row, x] == column.index(max(column)) and top[row, 0, x] == max(column)
