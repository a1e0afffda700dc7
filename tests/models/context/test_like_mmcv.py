"""The blocks give what mmcv's give with the same weights, under the same names."""

from itertools import product

import mmcv.cnn
import pytest
import torch
from model_contract import randomise

from gcseg.models import ContextBlock, NonLocal, NonLocal2d

FUSIONS = [("channel_add",), ("channel_mul",), ("channel_mul", "channel_add")]
MODES = ("gaussian", "embedded_gaussian", "dot_product", "concatenation")
TIMES = {1: (30,), 2: (7, 6), 3: (3, 4, 2)}


def agree(ours, theirs, x):
    theirs = randomise(theirs).eval()
    ours.load_state_dict(theirs.state_dict())  # strict: the same names
    out, expected = ours.eval()(x), theirs(x)
    assert (expected - x).abs().max() > 0.1
    torch.testing.assert_close(out, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(ours.double()(x.double()), theirs.double()(x.double()), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("pooling_type", "fusion_types"), list(product(("att", "avg"), FUSIONS)))
def test_context_block(pooling_type, fusion_types):
    options = dict(in_channels=16, ratio=1 / 4, pooling_type=pooling_type, fusion_types=fusion_types)
    agree(ContextBlock(**options), mmcv.cnn.ContextBlock(**options), torch.randn(2, 16, 7, 6))


@pytest.mark.parametrize(("mode", "sub_sample", "use_scale"), list(product(MODES, (False, True), (False, True))))
def test_non_local(mode, sub_sample, use_scale):
    # At its own scale, the exponents of a network of random weights reach 30; trained ones are far below.
    options = dict(in_channels=8, mode=mode, sub_sample=sub_sample, use_scale=use_scale, norm_cfg=dict(type="BN"))
    agree(NonLocal2d(**options), mmcv.cnn.NonLocal2d(**options), torch.randn(2, 8, 7, 6) / 4)


@pytest.mark.parametrize(("dims", "sub_sample"), list(product((1, 2, 3), (False, True))))
def test_one_and_three_axes(dims, sub_sample):
    theirs = getattr(mmcv.cnn, f"NonLocal{dims}d")(8, sub_sample=sub_sample)
    agree(NonLocal(8, dims=dims, sub_sample=sub_sample), theirs, torch.randn(2, 8, *TIMES[dims]) / 4)
