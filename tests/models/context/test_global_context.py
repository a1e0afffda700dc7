import pytest
import torch
from model_contract import ModelContract
from torch.nn.functional import layer_norm

from gcseg.models.context import GlobalContext


class TestGlobalContext(ModelContract):
    channels = 12
    without_effect = ("conv_mask.bias",)
    options = dict(ratio=1 / 4)

    def make(self):
        return GlobalContext(12, **self.options)

    def shapes(self, n, h, w):
        return [(n, 12, h, w)]

    def test_formula(self):
        block, x = self.model().double(), self.images().double()
        weights = block.conv_mask(x).flatten(1).softmax(1) if block.conv_mask else x.new_full((2, 33 * 47), 1 / 33 / 47)
        pooled = (x.flatten(2) * weights[:, None]).sum(2)

        def term(t):
            hidden = pooled @ t[0].weight[:, :, 0, 0].T + t[0].bias
            hidden = layer_norm(hidden, hidden.shape[1:]) * t[1].weight[:, 0, 0] + t[1].bias[:, 0, 0]
            return (hidden.relu() @ t[3].weight[:, :, 0, 0].T + t[3].bias)[..., None, None]

        expected = x
        if block.channel_mul_conv is not None:
            expected = expected * term(block.channel_mul_conv).sigmoid()
        if block.channel_add_conv is not None:
            expected = expected + term(block.channel_add_conv)
        torch.testing.assert_close(block(x), expected)


class TestScaling(TestGlobalContext):
    options = dict(ratio=1 / 2, fusion_types=("channel_mul",))


class TestBothAveraged(TestGlobalContext):
    options = dict(ratio=1 / 3, pooling_type="avg", fusion_types=("channel_add", "channel_mul"))


def test_parameter_names_and_shapes_are_those_of_checkpoints():
    block = GlobalContext(16, 1 / 4, fusion_types=("channel_add", "channel_mul"))
    assert {k: tuple(v.shape) for k, v in block.state_dict().items()} == {
        "conv_mask.weight": (1, 16, 1, 1),
        "conv_mask.bias": (1,),
        **{
            f"{name}.{key}": shape
            for name in ("channel_add_conv", "channel_mul_conv")
            for key, shape in {
                "0.weight": (4, 16, 1, 1),
                "0.bias": (4,),
                "1.weight": (4, 1, 1),
                "1.bias": (4, 1, 1),
                "3.weight": (16, 4, 1, 1),
                "3.bias": (16,),
            }.items()
        },
    }


def test_a_new_block_is_the_identity():
    x = torch.randn(2, 8, 5, 7)
    assert torch.equal(GlobalContext(8, 1 / 4)(x), x)
    torch.testing.assert_close(GlobalContext(8, 1 / 4, fusion_types=("channel_mul",))(x), x / 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(pooling_type="max"), "'max'.*att, avg"),
        (dict(fusion_types=("add",)), "'add'.*channel_add, channel_mul"),
        (dict(fusion_types=()), "one or both"),
        (dict(fusion_types="channel_add"), "tuple"),
        (dict(ratio=1 / 100), "at least 1/16"),
    ],
)
def test_wrong_options(options, words):
    with pytest.raises(ValueError, match=words):
        GlobalContext(**{"in_channels": 16, "ratio": 1 / 4, **options})
