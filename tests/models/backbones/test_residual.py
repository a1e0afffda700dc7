import copy

import pytest
import torch
from model_contract import ModelContract, randomise
from torch import nn

from gcseg.models.backbones.residual import BasicBlock, Bottleneck, ResLayer
from gcseg.models.plugins import ContextBlock
from gcseg.registry import MODELS
from gcseg.utils import ConfigError


@MODELS.register_module()
class PlusOne(nn.Module):
    """Plugin that says where it stood."""

    _abbr_ = "plus_one"

    def __init__(self, in_channels, amount=1.0):
        super().__init__()
        self.in_channels, self.amount = in_channels, amount

    def forward(self, x):
        return x * 2 + self.amount


def plugin(position, type="ContextBlock", **cfg):
    if type == "ContextBlock":
        cfg.setdefault("ratio", 1 / 4)
    return dict(cfg=dict(type=type, **cfg), position=position)


class TestBasicBlock(ModelContract):
    channels = 8
    without_effect = ("conv_mask.bias",)

    def make(self):
        return BasicBlock(8, 8, plugins=[plugin("after_conv2")])

    def shapes(self, n, h, w):
        return [(n, 8, h, w)]

    def test_formula(self):
        block, x = self.model().eval(), self.images()
        branch = block.bn2(block.conv2(block.bn1(block.conv1(x)).relu()))
        torch.testing.assert_close(block(x), (x + block.context_block(branch)).relu())


class TestBottleneck(ModelContract):
    channels = 32
    without_effect = ("conv_mask.bias",)

    def make(self):
        return Bottleneck(32, 8, plugins=[plugin("after_conv1"), plugin("after_conv3", postfix="_2")])

    def shapes(self, n, h, w):
        return [(n, 32, h, w)]

    def test_formula(self):
        block, x = self.model().eval(), self.images()
        branch = block.context_block(block.bn1(block.conv1(x)).relu())
        branch = block.bn3(block.conv3(block.bn2(block.conv2(branch)).relu()))
        torch.testing.assert_close(block(x), (x + block.context_block_2(branch)).relu())


class TestAfterAddition(ModelContract):
    channels = 8
    without_effect = ("conv_mask.bias",)

    def make(self):
        return BasicBlock(8, 8, plugins=[plugin("after_add"), plugin("after_conv1", "SE", ratio=1 / 2)])

    def shapes(self, n, h, w):
        return [(n, 8, h, w)]

    def test_formula(self):
        block, x = self.model().eval(), self.images()
        branch = block.bn2(block.conv2(block.se(block.bn1(block.conv1(x)).relu())))
        torch.testing.assert_close(block(x), block.context_block(x + branch).relu())


class TestBottleneckAfterAddition(TestAfterAddition):
    channels = 32
    without_effect = ("phi.conv.bias", "conv_mask.bias")

    def make(self):
        pairwise = plugin("after_add", "GeneralContext", modelling="pairwise", fusion="both")
        return Bottleneck(32, 8, plugins=[pairwise, plugin("after_add", "SimplifiedNonLocal")])

    def images(self, n=2, h=9, w=7):
        return super().images(n, h, w)

    def shapes(self, n, h, w):
        return [(n, 32, h, w)]

    def test_formula(self):
        block, x = self.model().eval(), self.images()
        branch = block.bn2(block.conv2(block.bn1(block.conv1(x)).relu())).relu()
        out = block.context_block(x + block.bn3(block.conv3(branch)))
        torch.testing.assert_close(block(x), block.simplified_non_local(out).relu())


@pytest.mark.parametrize(
    ("block_class", "positions", "channels"),
    [
        (BasicBlock, ("after_conv1", "after_conv2", "after_add"), (4, 4, 4)),
        (Bottleneck, ("after_conv1", "after_conv2", "after_conv3", "after_add"), (4, 4, 16, 16)),
    ],
)
def test_several_plugins_of_one_place_follow_each_other(block_class, positions, channels):
    for position, expected_channels in zip(positions, channels, strict=True):
        plugins = [plugin(position, "PlusOne"), plugin(position, "PlusOne", postfix="_b", amount=10.0)]
        block = block_class(4 * block_class.expansion, 4, plugins=plugins).eval()
        assert block.plus_one.in_channels == block.plus_one_b.in_channels == expected_channels
        seen = {}
        for name in ("plus_one", "plus_one_b"):
            getattr(block, name).register_forward_hook(
                lambda m, i, o, name=name, seen=seen: seen.update({name: (i[0].clone(), o)})
            )
        block(torch.randn(1, 4 * block_class.expansion, 5, 5))
        torch.testing.assert_close(seen["plus_one_b"][0], seen["plus_one"][0] * 2 + 1)


def test_plugins_are_built_in_our_own_class():
    assert type(BasicBlock(8, 8, plugins=[plugin("after_conv1")]).context_block) is ContextBlock


def test_what_a_plugin_returns_is_not_overwritten():
    """Its own backward pass may need it (a sigmoid's does)."""

    @MODELS.register_module(name="Squash", force=True)
    class Squash(nn.Module):
        def __init__(self, in_channels):
            super().__init__()

        def forward(self, x):
            return x.sigmoid()

    for position in ("after_conv3", "after_add"):
        block = Bottleneck(8, 2, plugins=[plugin(position, "Squash")])
        block(torch.randn(2, 8, 5, 5)).sum().backward()


def test_plugins_of_chosen_blocks():
    stage = ResLayer(BasicBlock, 8, 8, 4, plugins=[dict(plugin("after_add"), blocks=(0, -2))])
    assert [hasattr(block, "context_block") for block in stage] == [True, False, True, False]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: BasicBlock(8, 8, plugins=[plugin("after_conv3")]),
            "'after_conv3'.*after_conv2, after_add.*branch ends after_conv2",
        ),
        (lambda: Bottleneck(32, 8, plugins=[plugin("after_conv4")]), "'after_conv4'.*after_conv3, after_add"),
        (lambda: Bottleneck(32, 8, plugins=[plugin("after_conv1")] * 2), "context_block.*postfix"),
        (lambda: Bottleneck(32, 8, plugins=[plugin("after_conv1", "ContextBlok")]), "ContextBlok.*'ContextBlock'"),
        (lambda: Bottleneck(32, 8, plugins=[dict(position="after_conv1")]), "no 'cfg'"),
        (lambda: Bottleneck(8, 2, style="tensorflow"), "pytorch, caffe"),
        (lambda: BasicBlock(8, 8, dcn=dict(type="DCNv2")), "depth 50"),
        (lambda: Bottleneck(8, 2, dcn=dict(type="DCNv9")), "DCNv9.*mmcv-lite"),
        (lambda: Bottleneck(8, 2, dcn=dict(type="DCNv2"), conv_cfg=dict(type="Conv2d")), "exclude"),
        (lambda: ResLayer(BasicBlock, 8, 8, 2, plugins=[dict(plugin("after_add"), blocks=(2,))]), r"\(2,\).*-2 to 1"),
        (lambda: ResLayer(BasicBlock, 8, 8, 2, plugins=[dict(plugin("after_add"), blocks=())]), "one or more"),
        (lambda: ResLayer(BasicBlock, 8, 8, 2, plugins=[dict(plugin("after_add"), blocks=-1)]), r"-1 .*a tuple"),
        (lambda: ResLayer(BasicBlock, 8, 8, 2, plugins=[dict(plugin("after_add"), blocks="all")]), "'all' .*a tuple"),
        (lambda: ResLayer(Bottleneck, 8, 2, 3, multi_grid=(1, 2)), r"\(1, 2\).*3 blocks"),
    ],
)
def test_wrong_options(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


def test_dcn_config_is_left_alone():
    dcn = dict(type="DCNv2", fallback_on_stride=True)
    block = Bottleneck(8, 2, dcn=dcn)
    assert type(block.conv2) is nn.Conv2d and dcn == dict(type="DCNv2", fallback_on_stride=True)


@pytest.mark.parametrize(("style", "strides"), [("pytorch", (1, 2)), ("caffe", (2, 1))])
def test_style_says_which_convolution_carries_the_stride(style, strides):
    layer = ResLayer(Bottleneck, 8, 4, 2, stride=2, style=style)
    assert (layer[0].conv1.stride[0], layer[0].conv2.stride[0]) == strides
    assert (layer[1].conv1.stride[0], layer[1].conv2.stride[0]) == (1, 1)


@pytest.mark.parametrize(
    ("options", "dilations"),
    [
        (dict(dilation=4), (4, 4, 4)),
        (dict(dilation=4, contract_dilation=True), (2, 4, 4)),
        (dict(dilation=1, contract_dilation=True), (1, 1, 1)),
        (dict(dilation=4, contract_dilation=True, multi_grid=(1, 2, 4)), (1, 2, 4)),
    ],
)
def test_dilations(options, dilations):
    layer = ResLayer(Bottleneck, 8, 4, 3, **options)
    assert tuple(block.conv2.dilation[0] for block in layer) == dilations
    assert layer(torch.randn(2, 8, 9, 9)).shape == (2, 16, 9, 9)


@pytest.mark.parametrize("block_class", [BasicBlock, Bottleneck])
def test_recomputing_activations_changes_nothing(block_class):
    kept = randomise(ResLayer(block_class, 8, 4, 2, plugins=[plugin("after_conv2")])).train()
    recomputed = copy.deepcopy(kept)
    for block in recomputed:
        block.with_cp = True
    outcomes = []
    for layer in (kept, recomputed):
        x = torch.randn(2, 8, 9, 9, generator=torch.Generator().manual_seed(1)).requires_grad_()
        layer(x).square().sum().backward()
        outcomes.append([x.grad, *(p.grad for p in layer.parameters()), *layer.buffers()])
    assert all(torch.equal(a, b) for a, b in zip(*outcomes, strict=True))
    assert recomputed[0].norm1.momentum == 0.1
