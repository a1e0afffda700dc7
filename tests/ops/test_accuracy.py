import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gcseg.ops import Accuracy, accuracy


def slow_accuracy(pred, target, k, thresh, ignore_index):
    found = counted = 0
    for n in range(target.shape[0]):
        for i in range(target.shape[1]):
            for j in range(target.shape[2]):
                label = int(target[n, i, j])
                if label == ignore_index:
                    continue
                counted += 1
                scores = pred[n, :, i, j].tolist()
                best = sorted(range(len(scores)), key=lambda c: -scores[c])[:k]
                found += label in best and (thresh is None or scores[label] > thresh)
    return 100 * found / counted if counted else None


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(1, 4), st.sampled_from([None, 0.0, 0.4]), st.sampled_from([None, 0, 255]))
def test_agrees_with_counting_by_hand(seed, k, thresh, ignore_index):
    g = torch.Generator().manual_seed(seed)
    pred = torch.randn(2, 4, 3, 5, generator=g)
    target = torch.randint(0, 4, (2, 3, 5), generator=g)
    if ignore_index == 255:
        target[torch.rand(target.shape, generator=g) < 0.4] = 255
    wanted = slow_accuracy(pred, target, k, thresh, ignore_index)
    got = accuracy(pred, target, topk=k, thresh=thresh, ignore_index=ignore_index)
    assert got.shape == (1,) and got.dtype == torch.float32
    if wanted is not None:
        assert got.item() == pytest.approx(wanted, abs=1e-3)


def test_several_k_at_once_and_the_module():
    pred, target = torch.randn(2, 5, 4, 4), torch.randint(0, 5, (2, 4, 4))
    one, three = accuracy(pred, target, topk=(1, 3))
    assert one == accuracy(pred, target) and three == accuracy(pred, target, topk=3) and three > one
    assert Accuracy(topk=(1, 3))(pred, target) == [one, three]


def test_all_ignored_is_finite_and_an_empty_batch_is_zero():
    assert torch.isfinite(accuracy(torch.randn(1, 3, 2, 2), torch.full((1, 2, 2), 255), ignore_index=255)).all()
    assert accuracy(torch.zeros(0, 3, 2, 2), torch.zeros(0, 2, 2)).tolist() == [0]


def test_labels_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"\(1, 3, 2, 2\).*\(1, 4, 4\)"):
        accuracy(torch.zeros(1, 3, 2, 2), torch.zeros(1, 4, 4))
    with pytest.raises(ValueError, match="use 1 to 3"):
        accuracy(torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2), topk=4)
