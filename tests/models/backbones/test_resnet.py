import logging

import pytest
import torch
from model_contract import ModelContract, randomise
from torch import nn

from gcseg.models.backbones import ResNet, ResNetV1c, ResNetV1d
from gcseg.utils import ConfigError

SMALL = dict(stem_channels=8, base_channels=8)
D8 = dict(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), contract_dilation=True)


class TestResNet18(ModelContract):
    cls, options, expansion, strides = ResNet, dict(depth=18), 1, (4, 8, 16, 32)
    sizes = [(33, 47), (64, 32)]

    def make(self):
        return self.cls(**SMALL, **self.options)

    def images(self, n=2, h=65, w=47):
        return super().images(n, h, w)

    def shapes(self, n, h, w):
        channels = [8 * self.expansion * 2**i for i in range(4)]
        return [(n, c, -(-h // s), -(-w // s)) for c, s in zip(channels, self.strides, strict=True)]

    def test_it_says_what_it_returns(self):
        model = self.make().eval()
        x = torch.randn(1, 3, 64, 96)
        assert [tuple(o.shape) for o in model(x)] == [
            (1, c, 64 // s, 96 // s) for c, s in zip(model.out_channels, model.out_strides, strict=True)
        ]


class TestResNetV1c50D8(TestResNet18):
    cls, options, expansion, strides = ResNetV1c, dict(depth=50, **D8), 4, (4, 8, 8, 8)


class TestResNetV1d18(TestResNet18):
    cls = ResNetV1d


class TestResNet50WithPlugins(TestResNet18):
    expansion = 4
    without_effect = ("conv_mask.bias",)
    options = dict(
        depth=50,
        plugins=[
            dict(cfg=dict(type="ContextBlock", ratio=1 / 4), stages=(False, True, True, True), position="after_conv3"),
        ],
    )


@pytest.mark.parametrize(
    ("depth", "blocks", "parameters"),
    [
        (18, (2, 2, 2, 2), 11_176_512),
        (34, (3, 4, 6, 3), 21_284_672),
        (50, (3, 4, 6, 3), 23_508_032),
        (101, (3, 4, 23, 3), 42_500_160),
        (152, (3, 8, 36, 3), 58_143_808),
    ],
)
def test_published_sizes(depth, blocks, parameters):
    """The numbers of He et al.'s networks without their classifier."""
    with torch.device("meta"):
        model = ResNet(depth)
    assert tuple(len(getattr(model, name)) for name in model.res_layers) == blocks
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_state_dict_of_the_published_backbone():
    with torch.device("meta"):
        model = ResNetV1c(50, **D8, norm_cfg=dict(type="SyncBN", requires_grad=True))
    shapes = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    assert sum(p.numel() for p in model.parameters()) == 23_527_264
    assert shapes["stem.0.weight"] == (32, 3, 3, 3) and shapes["stem.6.weight"] == (64, 32, 3, 3)
    assert shapes["stem.7.running_mean"] == (64,)
    assert shapes["layer1.0.downsample.0.weight"] == (256, 64, 1, 1) and shapes["layer1.0.downsample.1.bias"] == (256,)
    assert shapes["layer4.2.conv3.weight"] == (2048, 512, 1, 1) and shapes["layer4.2.bn3.weight"] == (2048,)
    assert model.layer3[0].conv2.dilation == (1, 1) and model.layer3[1].conv2.dilation == (2, 2)
    assert model.layer4[0].conv2.dilation == (2, 2) and model.layer4[1].conv2.dilation == (4, 4)
    assert model.layer3[0].conv2.stride == (1, 1)


def test_variants_differ_where_they_should():
    v1, v1c, v1d = (cls(18, **SMALL) for cls in (ResNet, ResNetV1c, ResNetV1d))
    assert v1.conv1.kernel_size == (7, 7) and not hasattr(v1c, "conv1")
    assert isinstance(v1d.layer2[0].downsample[0], nn.AvgPool2d)
    assert [type(m).__name__ for m in v1c.layer2[0].downsample] == ["Conv2d", "BatchNorm2d"]


def test_plugins_stand_in_their_stages():
    model = TestResNet50WithPlugins().make()
    having = {name for name, _ in model.named_modules() if name.endswith("context_block")}
    assert having == {f"layer{i}.{j}.context_block" for i, n in ((2, 4), (3, 6), (4, 3)) for j in range(n)}


@pytest.mark.parametrize("shape", [(1, 4, 32, 32), (3, 32, 32)])
def test_images_of_another_shape_are_named(shape):
    with pytest.raises(ValueError, match=r"expected \(N, 3, H, W\)"):
        ResNet(18, **SMALL)(torch.randn(shape))


def test_plugins_stand_in_one_block_of_their_stage():
    plugins = [dict(cfg=dict(type="SE"), stages=(False, False, True, False), blocks=(-2,), position="after_add")]
    names = [name for name, _ in ResNet(50, **SMALL, plugins=plugins).named_modules() if name.endswith(".se")]
    assert names == ["layer3.4.se"]


def test_out_indices_select_and_order():
    full, part = (randomise(ResNet(18, **SMALL, out_indices=i)).eval() for i in ((0, 1, 2, 3), (3, 1)))
    x = torch.randn(1, 3, 33, 33)
    assert part.out_channels == (16, 64) and part.out_strides == (8, 32)
    assert all(torch.equal(a, b) for a, b in zip(part(x), full(x)[1::2], strict=True))


def test_three_stages():
    model = ResNet(50, **SMALL, num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(2,)).eval()
    assert not hasattr(model, "layer4") and model(torch.randn(1, 3, 32, 32))[0].shape == (1, 128, 2, 2)


@pytest.mark.parametrize("cls", [ResNet, ResNetV1c])
@pytest.mark.parametrize("frozen", [-1, 0, 2])
def test_frozen_stages_keep_weights_and_statistics(cls, frozen):
    model = randomise(cls(18, **SMALL, frozen_stages=frozen)).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    sum(o.square().mean() for o in model(torch.randn(2, 3, 65, 65))).backward()
    optimizer.step()
    changed = {k.split(".")[0] for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    stem = {"stem"} if cls is ResNetV1c else {"conv1", "bn1"}
    layers = {f"layer{i}" for i in range(1, 5)}
    expected = {-1: stem | layers, 0: layers, 2: {"layer3", "layer4"}}[frozen]
    assert changed == expected


def test_norm_eval_keeps_statistics_but_trains_weights():
    model = ResNet(18, **SMALL, norm_eval=True)
    assert model.train() is model
    before = model.bn1.running_mean.clone()
    model(torch.randn(2, 3, 33, 33))[-1].sum().backward()
    assert torch.equal(model.bn1.running_mean, before) and model.conv1.weight.grad is not None
    assert not any(m.training for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    assert model.layer1[0].conv1.training


def test_with_cp_gives_the_same():
    outcomes = []
    for with_cp in (False, True):
        model = randomise(ResNetV1c(18, **SMALL, with_cp=with_cp)).train()
        x = torch.randn(2, 3, 33, 33, generator=torch.Generator().manual_seed(1))
        sum(o.square().mean() for o in model(x)).backward()
        outcomes.append([*(p.grad for p in model.parameters()), *model.buffers()])
    assert all(torch.equal(a, b) for a, b in zip(*outcomes, strict=True))


class TestInitialisation:
    @pytest.fixture(autouse=True)
    def _quiet(self):
        """Keep mmengine from printing every parameter."""
        logger = logging.getLogger("mmengine")
        logger.setLevel(logging.ERROR)
        yield
        logger.setLevel(logging.NOTSET)

    @pytest.mark.parametrize("depth", [18, 50])
    def test_blocks_start_as_their_shortcut_and_plugins_as_the_identity(self, depth):
        model = ResNet(
            depth, **SMALL, plugins=[dict(cfg=dict(type="ContextBlock", ratio=1 / 4), position="after_conv2")]
        )
        randomise(model).init_weights()
        for module in model.modules():
            if hasattr(module, "num_units"):
                assert not module.norm(module.num_units).weight.any()
                assert module.norm1.weight.eq(1).all()
                x = torch.randn(1, module.planes, 4, 4)
                assert torch.equal(module.context_block(x), x)
        fan_out = model.conv1.weight[0, 0].numel() * 8
        assert abs(model.conv1.weight.std() - (2 / fan_out) ** 0.5) < 0.1 * (2 / fan_out) ** 0.5

    def test_without_zero_init(self):
        model = randomise(ResNet(18, **SMALL, zero_init_residual=False))
        model.init_weights()
        assert all(m.weight.eq(1).all() for m in model.modules() if isinstance(m, nn.BatchNorm2d))

    @pytest.mark.parametrize("how", ["pretrained", "init_cfg"])
    def test_weights_from_a_file(self, tmp_path, how):
        source = randomise(ResNet(18, **SMALL))
        torch.save(source.state_dict(), tmp_path / "w.pth")
        path = str(tmp_path / "w.pth")
        if how == "pretrained":
            with pytest.warns(DeprecationWarning, match="init_cfg"):
                model = ResNet(18, **SMALL, pretrained=path)
        else:
            model = ResNet(18, **SMALL, init_cfg=dict(type="Pretrained", checkpoint=path))
        model.init_weights()
        assert all(
            torch.equal(a, b) for a, b in zip(model.state_dict().values(), source.state_dict().values(), strict=True)
        )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(depth=20), "20.*18, 34, 50"),
        (dict(num_stages=5), "1 to 4"),
        (dict(strides=(1, 2)), r"strides.*\(1, 2\)"),
        (dict(dilations=(1, 2)), r"dilations.*\(1, 2\)"),
        (dict(strides=(1, 2, 0, 2)), r"strides: received \(1, 2, 0, 2\), allowed are numbers from 1"),
        (dict(dilations=(1, 1, 1, -1)), r"dilations: .* allowed are numbers from 1"),
        (dict(base_channels=0), "base_channels=0: allowed are numbers from 1"),
        (dict(out_indices=(0, 4)), "0 to 3"),
        (dict(frozen_stages=7), "-1 to 4"),
        (dict(dcn=dict(type="DCNv2"), stage_with_dcn=(True,)), "stage_with_dcn"),
        (dict(plugins=[dict(cfg=dict(type="ContextBlock"), stages=(True,), position="after_conv1")]), "1 entries"),
        (dict(pretrained="a.pth", init_cfg=dict(type="Kaiming")), "exclude"),
    ],
)
def test_wrong_options(options, words):
    with pytest.raises(ConfigError, match=words):
        ResNet(**{"depth": 18, **SMALL, **options})


def test_deformable_convolutions_need_compiled_operators():
    pytest.importorskip("mmcv")
    try:
        import mmcv.ops  # noqa: F401

        pytest.skip("this mmcv has compiled operators")
    except ImportError:
        pass
    with pytest.raises(ConfigError, match=r"mmcv-lite.*install the full mmcv"):
        ResNet(50, **SMALL, dcn=dict(type="DCNv2", deform_groups=1), stage_with_dcn=(False, True, True, True))


def test_photographs_that_are_not_normalised_are_refused():
    with pytest.raises(ValueError, match=r"torch.uint8 images of shape \(1, 3, 8, 8\).*normalised"):
        ResNet(18, base_channels=4, stem_channels=4)(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
