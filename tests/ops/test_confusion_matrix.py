import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gcseg.ops import confusion_matrix


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.integers(0, 10**6),
    st.integers(1, 30),
    st.sampled_from([255, -1, 1000, 0, None]),
    st.sampled_from([torch.int64, torch.int32, torch.int16]),
)
def test_agrees_with_counting_one_by_one(seed, num_classes, ignore_index, dtype):
    g = torch.Generator().manual_seed(seed)
    pred = torch.randint(0, num_classes, (2, 5, 4), generator=g).to(dtype)
    label = torch.randint(0, num_classes, (2, 5, 4), generator=g).to(dtype)
    if ignore_index is not None:
        label[torch.rand(label.shape, generator=g) < 0.3] = ignore_index
    wanted = torch.zeros(num_classes, num_classes, dtype=torch.int64)
    for p, t in zip(pred.flatten().tolist(), label.flatten().tolist(), strict=True):
        if t != ignore_index:
            wanted[t, p] += 1
    got = confusion_matrix(pred, label, num_classes, ignore_index)
    assert got.dtype == torch.int64 and torch.equal(got, wanted)


def test_counts_are_exact_where_float32_is_not():
    pixels = 2**24 + 3
    got = confusion_matrix(torch.zeros(pixels, dtype=torch.uint8), torch.ones(pixels, dtype=torch.uint8), 2)
    assert got.tolist() == [[0, 0], [pixels, 0]]


def test_many_classes_and_no_pixels():
    got = confusion_matrix(torch.tensor([299]), torch.tensor([298]), 300)
    assert got[298, 299] == 1 and got.sum() == 1
    assert confusion_matrix(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), 3).sum() == 0


@pytest.mark.parametrize(
    ("pred", "label", "message"),
    [
        ([0, 3], [0, 1], "predictions run from 0 to 3"),
        ([0, -1], [0, 1], "predictions run from -1"),
        ([0, 1], [0, 7], r"labels \[7\]"),
        ([0, 1], [-3, 1], r"labels \[-3\]"),
        ([0, 1, 2, 1], [0, 5, 255, 2], r"labels \[5\]"),
    ],
)
def test_impossible_classes_are_named(pred, label, message):
    with pytest.raises(ValueError, match=message):
        confusion_matrix(torch.tensor(pred), torch.tensor(label), 3)


def test_shape_and_type_are_checked():
    with pytest.raises(ValueError, match="resize"):
        confusion_matrix(torch.zeros(2, 2, dtype=torch.int64), torch.zeros(2, 3, dtype=torch.int64), 3)
    with pytest.raises(TypeError, match="float32"):
        confusion_matrix(torch.zeros(2), torch.zeros(2, dtype=torch.int64), 3)
