import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gcseg.models.context import attention_pool, average_pool


def spelt_out(x, logits):
    out = torch.zeros(*x.shape[:2], dtype=x.dtype)
    for n in range(x.shape[0]):
        weight = [[logits[n, 0, i, j].exp().item() for j in range(x.shape[3])] for i in range(x.shape[2])]
        total = sum(map(sum, weight))
        for i in range(x.shape[2]):
            for j in range(x.shape[3]):
                out[n] += x[n, :, i, j] * weight[i][j] / total
    return out[..., None, None]


@settings(max_examples=15, deadline=None, derandomize=True)
@given(n=st.integers(1, 3), c=st.integers(1, 4), h=st.integers(1, 5), w=st.integers(1, 5))
def test_agrees_with_the_loop_that_spells_it_out(n, c, h, w):
    x, logits = torch.randn(n, c, h, w, dtype=torch.float64), torch.randn(n, 1, h, w, dtype=torch.float64)
    torch.testing.assert_close(attention_pool(x, logits), spelt_out(x, logits), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_features_are_read_where_they_are(layout, dtype):
    x = torch.randn(1, 256, 32, 64).to(dtype).to(memory_format=layout)
    logits = torch.randn(1, 1, 32, 64).to(dtype)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True) as profile:
        pooled = attention_pool(x, logits)
    copies = [e.input_shapes[0] for e in profile.events() if e.name in ("aten::copy_", "aten::clone")]
    assert all(math.prod(shape) < x.numel() for shape in copies)
    expected = attention_pool(x.double().contiguous(), logits.double())
    torch.testing.assert_close(pooled.double(), expected, rtol=0, atol=1e-6 if dtype == torch.float32 else 2e-3)


def test_constant_scores_give_the_mean():
    x = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    torch.testing.assert_close(attention_pool(x, torch.full((2, 1, 5, 7), 3.0)), average_pool(x))
    torch.testing.assert_close(average_pool(x), x.flatten(2).mean(2)[..., None, None])


def test_one_overwhelming_score_picks_its_column():
    x, logits = torch.randn(1, 3, 4, 4), torch.zeros(1, 1, 4, 4)
    logits[0, 0, 2, 1] = 1e30
    torch.testing.assert_close(attention_pool(x, logits)[0, :, 0, 0], x[0, :, 2, 1])


def test_order_of_the_positions_does_not_matter():
    x, logits = torch.randn(2, 3, 4, 6, dtype=torch.float64), torch.randn(2, 1, 4, 6, dtype=torch.float64)
    order = torch.randperm(24)

    def shuffled(t):
        return t.flatten(2)[..., order].unflatten(2, (4, 6))

    torch.testing.assert_close(attention_pool(shuffled(x), shuffled(logits)), attention_pool(x, logits))


def test_half_precision_scores_are_summed_in_float32():
    x = torch.ones(1, 1, 200, 200, dtype=torch.bfloat16)
    assert abs(attention_pool(x, torch.zeros_like(x)).item() - 1) < 0.01
    assert attention_pool(x, torch.zeros_like(x)).dtype == torch.bfloat16


def test_float64_is_not_rounded():
    x, logits = torch.randn(1, 1, 3, 3, dtype=torch.float64), torch.randn(1, 1, 3, 3, dtype=torch.float64)
    exact = (x * logits.exp() / logits.exp().sum()).sum()
    assert abs(attention_pool(x, logits).item() - exact.item()) < 1e-14


def test_wrong_size_names_both():
    with pytest.raises(ValueError, match=r"\(4, 4\).*\(4, 5\)"):
        attention_pool(torch.rand(1, 2, 4, 4), torch.rand(1, 1, 4, 5))
