"""Cross-entropy and arg-max of coarse logits, against definitions spelt out pixel by pixel."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gcseg.ops import restore_logits, upsample_argmax, upsample_cross_entropy


def data(seed, classes, size, out, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, classes, *size, dtype=dtype, generator=g)
    label = torch.randint(0, classes, (2, *out), generator=g)
    label[torch.rand(label.shape, generator=g) < 0.3] = 255
    return logits, label


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.integers(0, 10**6),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.booleans(),
    st.booleans(),
)
def test_cross_entropy_agrees_with_the_loop(seed, size, out, align_corners, weighted):
    logits, label = data(seed, 4, size, out)
    weight = torch.tensor([0.5, 1.0, 2.0, 0.0], dtype=torch.float64) if weighted else None
    got = upsample_cross_entropy(logits, label, align_corners=align_corners, class_weight=weight)
    full = F.interpolate(logits, size=out, mode="bilinear", align_corners=align_corners)
    for n in range(2):
        for i in range(out[0]):
            for j in range(out[1]):
                scores, t = full[n, :, i, j].tolist(), int(label[n, i, j])
                total = sum(math.exp(s) for s in scores)
                loss = (
                    0.0 if t == 255 else -math.log(math.exp(scores[t]) / total) * (weight[t].item() if weighted else 1)
                )
                assert got.loss[n, i, j].item() == pytest.approx(loss, abs=1e-10)
                assert scores[got.pred[n, i, j]] == max(scores)
                assert got.prob[n, i, j].item() == pytest.approx(math.exp(max(scores)) / total, abs=1e-10)


def test_gradient_is_that_of_the_two_steps_and_ignored_pixels_have_none():
    logits, label = data(0, 5, (4, 5), (8, 9))
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(upsample_cross_entropy(logits, label).loss.sum(), logits)
    full = F.interpolate(logits, size=(8, 9), mode="bilinear")
    (wanted,) = torch.autograd.grad(F.cross_entropy(full, label, ignore_index=255, reduction="sum"), logits)
    torch.testing.assert_close(gradient, wanted)
    (none,) = torch.autograd.grad(upsample_cross_entropy(logits, torch.full_like(label, 255)).loss.sum(), logits)
    assert torch.equal(none, torch.zeros_like(none))


def test_half_precision_logits_give_a_float32_loss():
    logits, label = data(0, 5, (4, 5), (8, 9), torch.float32)
    got = upsample_cross_entropy(logits.bfloat16(), label)
    wanted = upsample_cross_entropy(logits.bfloat16().float(), label)
    assert got.loss.dtype == torch.float32 and torch.equal(got.loss, wanted.loss)


def test_cross_entropy_names_wrong_shapes():
    with pytest.raises(ValueError, match=r"\(N, H, W\)"):
        upsample_cross_entropy(torch.zeros(1, 2, 3, 3), torch.zeros(1, 1, 3, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match="one weight per class"):
        upsample_cross_entropy(
            torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3, dtype=torch.int64), class_weight=torch.ones(3)
        )


@pytest.mark.parametrize("flip", [None, "horizontal", "vertical", "diagonal"])
@pytest.mark.parametrize("align_corners", [False, True])
def test_restore_undoes_padding_and_flip(flip, align_corners):
    photograph = torch.randn(1, 3, 6, 8, dtype=torch.float64)
    dims = {None: (), "horizontal": (-1,), "vertical": (-2,), "diagonal": (-1, -2)}[flip]
    network_input = F.pad(photograph.flip(dims), (1, 2, 3, 4))
    got = restore_logits(network_input, (6, 8), padding=(1, 2, 3, 4), flip=flip, align_corners=align_corners)
    assert torch.equal(got, photograph)
    larger = restore_logits(network_input, (9, 20), padding=(1, 2, 3, 4), flip=flip, align_corners=align_corners)
    wanted = F.interpolate(photograph, (9, 20), mode="bilinear", align_corners=align_corners)
    torch.testing.assert_close(larger, wanted)


def test_two_resizes_are_not_one():
    logits = torch.randn(1, 3, 3, 3, dtype=torch.float64)
    through = restore_logits(logits, (7, 5), input_size=(6, 6))
    wanted = F.interpolate(F.interpolate(logits, (6, 6), mode="bilinear"), (7, 5), mode="bilinear")
    torch.testing.assert_close(through, wanted)
    assert not torch.allclose(through, restore_logits(logits, (7, 5)))


@pytest.mark.parametrize("options", [{}, dict(input_size=(16, 12), padding=(1, 0, 2, 3), flip="horizontal")])
def test_argmax_is_that_of_the_restored_logits(options):
    logits = torch.randn(2, 5, 4, 3)
    got = upsample_argmax(logits, (11, 13), **options)
    assert got.dtype == torch.int64 and torch.equal(got, restore_logits(logits, (11, 13), **options).argmax(1))
    small = upsample_argmax(logits, (11, 13), dtype=torch.uint8, **options)
    assert small.dtype == torch.uint8 and torch.equal(small.long(), got)


def test_one_channel_is_cut_at_the_threshold():
    logits = torch.tensor([-2.0, -0.1, 0.1, 2.0]).view(1, 1, 2, 2)
    assert upsample_argmax(logits, (2, 2), threshold=0.5).tolist() == [[[0, 0], [1, 1]]]
    assert upsample_argmax(logits, (2, 2), threshold=0.1).tolist() == [[[1, 1], [1, 1]]]
    with pytest.raises(ValueError, match="threshold"):
        upsample_argmax(logits, (2, 2))


def test_restore_names_impossible_requests():
    with pytest.raises(ValueError, match="'upside'"):
        restore_logits(torch.zeros(1, 1, 2, 2), (2, 2), flip="upside")
    with pytest.raises(ValueError, match="leaves no image"):
        restore_logits(torch.zeros(1, 1, 2, 2), (2, 2), padding=(1, 1, 0, 0))
