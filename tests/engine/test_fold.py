import copy

import pytest
import torch
from mmcv.cnn import ConvModule
from random_segmentor import build, error, images
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from gcseg.engine.fold import fold_batch_norms
from gcseg.models.backbones import BasicBlock, ResNet


def plugin(kind, position, **options):
    return dict(cfg=dict(type=kind, **options), stages=(False, True, True, True), position=position)


VARIANTS = {
    "r18": dict(),
    "r50": dict(depth=50),
    "r50_seven_stem": dict(depth=50, backbone="ResNet"),
    "r50_v1d": dict(depth=50, backbone="ResNetV1d"),
    "r18_v1d": dict(backbone="ResNetV1d"),
    "r50_caffe": dict(depth=50, style="caffe"),
    "r50_frozen": dict(depth=50, frozen_stages=2, norm_eval=True),
    "r18_checkpointed": dict(with_cp=True),
    "r50_gc": dict(depth=50, plugins=[plugin("ContextBlock", f"after_conv{i}", postfix=i, ratio=1 / 4) for i in "123"]),
    "r50_nl": dict(depth=50, plugins=[plugin("NonLocal2d", "after_conv2", norm_cfg=dict(type="BN"))]),
    "r50_after_add": dict(depth=50, plugins=[plugin("GeneralContext", "after_add", fusion="both")]),
    "gc_mul": dict(head=dict(fusion_types=("channel_add", "channel_mul"))),
    "nl": dict(head=dict(type="NLHead")),
    "nl_concatenation": dict(head=dict(type="NLHead", mode="concatenation")),
    "snl": dict(head=dict(type="SNLHead")),
    "se": dict(head=dict(type="SEHead", ratio=1 / 2)),
    "dnl": dict(head=dict(type="DNLHead")),
    "fcn": dict(head=dict(type="FCNHead", num_convs=3)),
    "sync": dict(norm="SyncBN"),
}


def norms(model):
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


@pytest.mark.parametrize("dtype, allowed", [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("name", VARIANTS)
def test_every_batch_norm_is_folded_and_the_logits_stay(name, dtype, allowed):
    model = build(**VARIANTS[name]).to(dtype)
    before, x = len(norms(model)), images(dtype=dtype)
    if name == "sync":  # refuses a CPU, but not to be folded
        plain = build().to(dtype)
        plain.load_state_dict(model.state_dict())
    else:
        plain = copy.deepcopy(model)
    exact = plain.double()  # two float32 models differ by the rounding of both
    with torch.no_grad():
        expected = [exact(x.double()), *exact.backbone(x.double())]
        assert fold_batch_norms(model) == before > 20
        assert norms(model) == []
        found = [model(x), *model.backbone(x)]
    for a, b in zip(found, expected, strict=True):
        assert error(a.double(), b) < allowed
        assert error(b * 1.001, b) > allowed  # the measure sees a wrong fold
    assert fold_batch_norms(model) == 0


def test_other_normalisations_stay():
    model = build(norm="GN")
    assert fold_batch_norms(model) == 0
    assert any(isinstance(module, nn.LayerNorm) for module in model.modules())


def test_the_weights_given_are_not_written_to():
    model = build()
    weight, given = model.backbone.layer1[0].conv1.weight, copy.deepcopy(model.state_dict())
    source = model.state_dict()
    fold_batch_norms(model)
    assert all(torch.equal(source[key], given[key]) for key in given)
    assert model.backbone.layer1[0].conv1.weight is not weight


def test_the_order_of_the_memory_is_kept():
    model = build().to(memory_format=torch.channels_last)
    fold_batch_norms(model)
    weight = model.backbone.layer1[0].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()


def shaken(module):
    """The module with statistics that make a missing normalisation visible, ready to predict."""
    for norm in norms(module):
        nn.init.uniform_(norm.weight, 0.5, 2) if norm.affine else None
        if norm.running_mean is not None:
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    return module.eval()


class TwiceUsed(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
        self.two = nn.Sequential(nn.Conv2d(3, 3, 1), self.one[1])

    def forward(self, x):
        return self.two(self.one(x))


class Standardised(nn.Conv2d):
    def forward(self, x):
        return nn.functional.conv2d(x, self.weight / self.weight.std(), self.bias)


class TwoAnswers(nn.Sequential):
    def forward(self, x):
        return torch.cat([self[0](x), self[1](self[0](x))], 1)


class OwnBlock(BasicBlock):
    def _branch_plus_shortcut(self, x):
        return self.norm1(self.conv2(self.norm2(self.conv1(x)))) + x


class OwnNet(ResNet):
    def forward(self, x):
        return (self.conv1(x), self.norm1(self.conv1(x)))


def hooked(kind):
    pair = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    pair[kind].register_forward_hook(lambda module, x, y: y + 1)
    return pair


def pair(conv=None, norm=None):
    return nn.Sequential(conv or nn.Conv2d(3, 3, 1), norm or nn.BatchNorm2d(3))


def without_statistics():
    return pair(norm=nn.BatchNorm2d(3, track_running_stats=False))


def in_training():
    model = shaken(pair())
    model[1].train()
    return model


LEFT_ALONE = {
    "normalisation used twice": TwiceUsed,
    "hook on the convolution": lambda: hooked(0),
    "hook on the normalisation": lambda: hooked(1),
    "convolution of its own kind": lambda: pair(Standardised(3, 3, 1)),
    "transposed convolution": lambda: pair(nn.ConvTranspose2d(3, 3, 1)),
    "parametrised weights": lambda: pair(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 3, 1))),
    "spectral norm": lambda: pair(nn.utils.spectral_norm(nn.Conv2d(3, 3, 1))),
    "no running statistics": without_statistics,
    "another forward pass": lambda: TwoAnswers(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)),
    "something between": lambda: nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3)),
    "normalisation first": lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)),
    "ConvModule, normalisation first": lambda: ConvModule(
        3, 3, 1, norm_cfg=dict(type="BN"), order=("norm", "conv", "act")
    ),
    "ConvModule, activation between": lambda: ConvModule(
        3, 3, 1, norm_cfg=dict(type="BN"), order=("conv", "act", "norm")
    ),
    "ConvModule that folds by itself": lambda: ConvModule(
        3, 3, 1, norm_cfg=dict(type="BN"), efficient_conv_bn_eval=True
    ),
    "residual block of its own kind": lambda: OwnBlock(3, 3),
}


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_what_does_not_stand_directly_after_a_plain_convolution_is_left_alone(name):
    torch.manual_seed(0)
    model, x = shaken(LEFT_ALONE[name]()), torch.randn(2, 3, 6, 6)
    with torch.no_grad():
        expected = model(x)
        assert fold_batch_norms(model) == 0
        assert len(norms(model)) >= 1
        torch.testing.assert_close(model(x), expected, rtol=0, atol=0)


def test_a_stem_of_its_own_kind_is_left_alone():
    model = shaken(OwnNet(18, base_channels=16, stem_channels=16))
    x = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        expected = model(x)
        fold_batch_norms(model)
        assert [type(module).__name__ for module in norms(model)] == ["BatchNorm2d"]
        for a, b in zip(model(x), expected, strict=True):
            assert torch.equal(a, b)


def test_what_is_in_training_mode_is_left_alone():
    model = in_training()
    assert fold_batch_norms(model) == 0 and isinstance(model[1], nn.BatchNorm2d)


def test_convolutions_of_one_and_three_dimensions_and_with_bias_and_groups():
    torch.manual_seed(0)
    for dims, conv, norm in ((1, nn.Conv1d, nn.BatchNorm1d), (3, nn.Conv3d, nn.BatchNorm3d)):
        for bias in (False, True):
            options = dict(stride=2, padding=1, groups=2, bias=bias, padding_mode="circular")
            model = shaken(nn.Sequential(conv(4, 6, 3, **options), norm(6, eps=0.1, affine=bias)))
            x = torch.randn(2, 4, *[8] * dims)
            with torch.no_grad():
                expected = model(x)
                assert fold_batch_norms(model) == 1
                torch.testing.assert_close(model(x), expected, rtol=1e-5, atol=1e-5)
