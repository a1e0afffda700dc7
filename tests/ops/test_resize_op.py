import warnings

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gcseg.ops import resize

sides = st.integers(1, 9)


def bilinear_by_hand(x, size, align_corners):
    """Each output pixel from its four neighbours, one at a time."""
    source, out = x.shape[-2:], x.new_zeros(*x.shape[:2], *size)

    def place(i, n_in, n_out):
        if align_corners:
            position = i * (n_in - 1) / (n_out - 1) if n_out > 1 else 0.0
        else:
            position = max((i + 0.5) * n_in / n_out - 0.5, 0.0)
        low = min(int(position), n_in - 1)
        return low, min(low + 1, n_in - 1), position - low

    for i in range(size[0]):
        top, bottom, dy = place(i, source[0], size[0])
        for j in range(size[1]):
            left, right, dx = place(j, source[1], size[1])
            upper = (1 - dx) * x[..., top, left] + dx * x[..., top, right]
            lower = (1 - dx) * x[..., bottom, left] + dx * x[..., bottom, right]
            out[..., i, j] = (1 - dy) * upper + dy * lower
    return out


@settings(max_examples=40, deadline=None, derandomize=True)
@given(sides, sides, sides, sides, st.booleans(), st.integers(0, 99))
def test_bilinear_agrees_with_the_definition(h, w, out_h, out_w, align_corners, seed):
    x = torch.randn(2, 3, h, w, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    out = resize(x, size=(out_h, out_w), mode="bilinear", align_corners=align_corners)
    torch.testing.assert_close(out, bilinear_by_hand(x, (out_h, out_w), align_corners), rtol=0, atol=1e-12)


def test_the_right_size_costs_nothing():
    x = torch.randn(1, 2, 5, 4)
    assert resize(x, size=(5, 4), mode="bilinear", align_corners=False) is x


def test_scale_factor_one_number_and_mode():
    x = torch.arange(4.0).view(1, 1, 2, 2)
    assert resize(x, scale_factor=2).tolist() == [[[[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]]]
    assert resize(x, size=4).shape == (1, 1, 4, 4)
    assert not torch.equal(resize(x, size=4, mode="bicubic"), resize(x, size=4))


def test_sizes_may_be_a_torch_size():
    x = torch.randn(1, 2, 3, 3)
    wanted = F.interpolate(x, size=(7, 5), mode="bilinear")
    assert torch.equal(resize(input=x, size=torch.zeros(7, 5).shape, mode="bilinear"), wanted)


@pytest.mark.parametrize("options", [{}, dict(size=(2, 2), scale_factor=2)])
def test_one_of_size_and_factor(options):
    with pytest.raises(ValueError, match="exactly one"):
        resize(torch.zeros(1, 1, 2, 2), **options)


def test_a_size_without_pixels_is_refused():
    with pytest.raises(ValueError, match=r"\(0, 3\)"):
        resize(torch.zeros(1, 1, 2, 2), size=(0, 3))


def test_warns_of_corners_that_do_not_line_up_when_asked():
    x = torch.zeros(1, 1, 5, 5)
    with pytest.warns(UserWarning, match="fall between"):
        resize(x, size=(16, 16), mode="bilinear", align_corners=True, warning=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resize(x, size=(17, 17), mode="bilinear", align_corners=True, warning=True)
        resize(x, size=(16, 16), mode="bilinear", align_corners=True)
