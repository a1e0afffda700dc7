import math
from collections import OrderedDict
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.structures import PixelData
from model_contract import ModelContract, randomise
from torch import nn
from torch.nn import functional as F

from gcseg.models import ContextHead, DNLHead, FCNHead, GCHead, NLHead, ResNet, SEHead, SNLHead
from gcseg.structures import SegDataSample
from gcseg.utils import ConfigError, DataError

BASE = dict(in_channels=6, channels=8, num_classes=5)


def sample(label):
    s = SegDataSample(metainfo=dict(img_path="street.png"))
    s.gt_sem_seg = PixelData(data=label)
    return s


def labels(n=2, h=18, w=14, num_classes=5):
    generator = torch.Generator().manual_seed(3)
    label = torch.randint(0, num_classes, (n, 1, h, w), generator=generator)
    label[torch.rand(label.shape, generator=generator) < 0.2] = 255
    return label


class HeadContract(ModelContract):
    """What heads promise beyond what models do."""

    channels = 6
    sizes = [(9, 7), (4, 11)]
    cls, options = FCNHead, {}

    def make(self):
        return self.cls(**{**BASE, "norm_cfg": dict(type="BN"), "dropout_ratio": 0, **self.options})

    def images(self, n=2, h=9, w=7):
        return super().images(n, h, w)

    def shapes(self, n, h, w):
        return [(n, 5, h, w)]

    def test_a_list_of_features_gives_the_same_as_the_one_it_uses(self):
        model, x = self.model().eval(), self.images()
        assert torch.equal(model([torch.randn(2, 3, 4, 4), x]), model(x))

    def test_predict_resizes_to_the_padded_image(self):
        model, x = self.model().eval(), self.images()
        expected = F.interpolate(model(x), size=(20, 30), mode="bilinear", align_corners=model.align_corners)
        for meta in (dict(img_shape=(3, 3), pad_shape=(20, 30)), dict(img_shape=(20, 30))):
            torch.testing.assert_close(model.predict([x], [meta] * 2), expected)

    def test_loss_is_cross_entropy_of_resized_logits(self):
        model, x, label = self.model().eval(), self.images(), labels()
        losses = model.loss([x], [sample(one) for one in label])
        logits = F.interpolate(model(x), size=(18, 14), mode="bilinear", align_corners=model.align_corners)
        per_pixel = F.cross_entropy(logits, label[:, 0], ignore_index=255, reduction="none")
        torch.testing.assert_close(losses["loss_ce"], per_pixel.mean())
        valid = label[:, 0] != 255
        share = (logits.argmax(1) == label[:, 0])[valid].float().mean() * 100
        torch.testing.assert_close(losses["acc_seg"], share.view(1), rtol=1e-4, atol=1e-3)
        assert losses["loss_ce"].requires_grad and not losses["acc_seg"].requires_grad

    def test_dropout_acts_in_training_only(self):
        model, x = randomise(self.cls(**{**BASE, "dropout_ratio": 0.5, **self.options})), self.images()
        assert not torch.equal(model(x), model(x))
        model.eval()
        assert torch.equal(model(x), model(x))


class TestFCNHead(HeadContract):
    def test_formula(self):
        model, x = self.model().eval(), self.images()
        hidden = x
        for conv in model.convs:
            hidden = conv.bn(F.conv2d(hidden, conv.conv.weight, padding=1)).relu()
        hidden = torch.cat([x, hidden], 1)
        hidden = model.conv_cat.bn(F.conv2d(hidden, model.conv_cat.conv.weight, padding=1)).relu()
        torch.testing.assert_close(model(x), model.conv_seg(hidden))


class TestAuxiliaryHead(HeadContract):
    options = dict(num_convs=1, concat_input=False, align_corners=True)

    def test_names(self):
        assert {k.split(".")[0] for k in self.make().state_dict()} == {"conv_seg", "convs"}


class TestDilatedHead(HeadContract):
    options = dict(dilation=3, kernel_size=3)


class TestGCHead(HeadContract):
    cls = GCHead
    block_name = "gc_block"
    without_effect = ("conv_mask.bias",)

    def test_the_block_stands_between_the_convolutions(self):
        model, x = self.model().eval(), self.images()
        block = getattr(model, self.block_name)
        hidden = model.convs[1](block(model.convs[0](x)))
        expected = model.conv_seg(model.conv_cat(torch.cat([x, hidden], 1)))
        torch.testing.assert_close(model(x), expected)
        with torch.no_grad():
            for parameter in block.parameters():
                parameter.zero_()
        assert not torch.allclose(model(x), expected)


class TestGCHeadWithBothFusions(TestGCHead):
    options = dict(ratio=1 / 2, pooling_type="avg", fusion_types=("channel_add", "channel_mul"))


class TestNLHead(TestGCHead):
    cls, block_name = NLHead, "nl_block"
    without_effect = ("phi.conv.bias", "g.conv.bias")


class TestNLHeadDotProduct(TestNLHead):
    options = dict(mode="dot_product", reduction=4)
    without_effect = ()


class TestDNLHead(TestGCHead):
    cls, block_name = DNLHead, "dnl_block"
    options = dict(temperature=0.5)
    without_effect = ("theta.conv.bias", "phi.conv.bias", "g.conv.bias", "conv_mask.bias")


class TestSNLHead(TestGCHead):
    cls, block_name = SNLHead, "snl_block"


class TestSEHead(TestGCHead):
    cls, block_name = SEHead, "se_block"
    options = dict(ratio=1 / 2)
    without_effect = ()


class TestContextHead(TestGCHead):
    cls, block_name = ContextHead, "context_block"
    options = dict(block=dict(type="GeneralContext", modelling="average", fusion="both", layer_norm=False))
    without_effect = ()


def test_a_head_gets_its_block_from_a_function_too():
    head = ContextHead(lambda channels: nn.Conv2d(channels, channels, 1, groups=channels), **BASE)
    assert head.context_block.groups == BASE["channels"]


def test_a_head_with_a_block_differs_from_the_plain_one_by_the_block_alone():
    """One forward for all of them: with a block that is the identity they are FCNHead."""
    plain, x = randomise(FCNHead(**BASE)).eval(), torch.randn(2, 6, 9, 7)
    for head in (cls(**BASE).eval() for cls in (GCHead, NLHead, DNLHead, SNLHead)):
        missing, unexpected = head.load_state_dict(plain.state_dict(), strict=False)
        assert not unexpected and all(name.startswith(head.block_name) for name in missing)
        assert torch.equal(head(x), plain(x))


@pytest.mark.parametrize("num_classes", [19, 150])
def test_state_dict_of_the_published_head(num_classes):
    with torch.device("meta"):
        head = GCHead(in_channels=2048, channels=512, num_classes=num_classes, norm_cfg=dict(type="SyncBN"))
    shapes = {name: tuple(t.shape) for name, t in head.state_dict().items() if t.dim()}
    assert {k: s for k, s in shapes.items() if k.endswith("weight")} == {
        "conv_seg.weight": (num_classes, 512, 1, 1),
        "convs.0.conv.weight": (512, 2048, 3, 3),
        "convs.0.bn.weight": (512,),
        "convs.1.conv.weight": (512, 512, 3, 3),
        "convs.1.bn.weight": (512,),
        "conv_cat.conv.weight": (512, 2560, 3, 3),
        "conv_cat.bn.weight": (512,),
        "gc_block.conv_mask.weight": (1, 512, 1, 1),
        "gc_block.channel_add_conv.0.weight": (128, 512, 1, 1),
        "gc_block.channel_add_conv.1.weight": (128, 1, 1),
        "gc_block.channel_add_conv.3.weight": (512, 128, 1, 1),
    }
    assert sum(p.numel() for p in head.parameters()) == {19: 23_738_260, 150: 23_805_463}[num_classes]


@pytest.mark.parametrize(
    ("cls", "names"),
    [
        (NLHead, ["nl_block.g.conv.weight", "nl_block.conv_out.bn.weight", "nl_block.theta.conv.bias"]),
        (DNLHead, ["dnl_block.phi.conv.weight", "dnl_block.conv_mask.bias", "dnl_block.conv_out.conv.weight"]),
        (SNLHead, ["snl_block.conv_mask.weight", "snl_block.channel_add_conv.0.weight"]),
        (SEHead, ["se_block.channel_mul_conv.0.weight", "se_block.channel_mul_conv.3.bias"]),
    ],
)
def test_block_names(cls, names):
    assert set(names) <= set(cls(**{**BASE, "channels": 16}, norm_cfg=dict(type="BN")).state_dict())


def test_group_norm_keeps_its_name():
    head = NLHead(**BASE, norm_cfg=dict(type="GN", num_groups=4))
    assert "nl_block.conv_out.gn.weight" in head.state_dict() and "convs.0.gn.weight" in head.state_dict()


def test_resize_concat():
    head = randomise(
        FCNHead(**{**BASE, "in_channels": [4, 2]}, in_index=[1, 2], input_transform="resize_concat")
    ).eval()
    a, b = torch.randn(2, 4, 8, 6), torch.randn(2, 2, 4, 3)
    alone = FCNHead(**BASE).eval()
    alone.load_state_dict(head.state_dict())
    expected = alone(torch.cat([a, F.interpolate(b, size=(8, 6), mode="bilinear")], 1))
    torch.testing.assert_close(head([None, a, b]), expected)
    with pytest.raises(ValueError, match=r"one tensor.*\(1, 2\)"):
        head(a)


def test_multiple_select():
    class Sum(FCNHead):
        def _init_inputs(self, *args):
            super()._init_inputs(*args)
            self.lists, self.in_channels = self.in_channels, 6

        def _transform_inputs(self, inputs):
            selected = super()._transform_inputs(inputs)
            assert isinstance(selected, list)
            return sum(selected)

    head = Sum(**{**BASE, "in_channels": [6, 6]}, in_index=[0, 2], input_transform="multiple_select").eval()
    a, b = torch.randn(1, 6, 4, 4), torch.randn(1, 6, 4, 4)
    assert head.lists == [6, 6] and torch.equal(head([a, None, b]), head([b, None, a]))


class TestLosses:
    def test_losses_of_one_name_add_up(self):
        ce = dict(type="CrossEntropyLoss", loss_weight=0.5)
        head = randomise(FCNHead(**BASE, loss_decode=[ce, ce, dict(type="DiceLoss", loss_name="loss_dice")])).eval()
        single = FCNHead(**BASE, loss_decode=dict(type="CrossEntropyLoss")).eval()
        single.load_state_dict(head.state_dict())
        x, samples = torch.randn(2, 6, 9, 7), [sample(one) for one in labels()]
        losses = head.loss([x], samples)
        assert set(losses) == {"loss_ce", "loss_dice", "acc_seg"}
        torch.testing.assert_close(losses["loss_ce"], single.loss([x], samples)["loss_ce"])

    def test_a_loss_may_be_a_module(self):
        class Constant(nn.Module):
            loss_name = "loss_constant"

            def forward(self, logits, label, weight=None, ignore_index=255):
                return logits.sum() * 0 + ignore_index

        head = FCNHead(**BASE, loss_decode=Constant(), ignore_index=7)
        assert head.loss([torch.randn(2, 6, 9, 7)], [sample(one) for one in labels()])["loss_constant"] == 7

    def test_the_sampler_weighs_the_pixels(self):
        class FirstRow:
            def sample(self, logits, label):
                assert logits.shape == (2, 5, 18, 14) and label.shape == (2, 1, 18, 14)
                weight = torch.zeros(2, 18, 14)
                weight[:, 0] = 1
                return weight

        head = randomise(FCNHead(**BASE, sampler=FirstRow())).eval()
        x, label = torch.randn(2, 6, 9, 7), labels()
        logits = F.interpolate(head(x), size=(18, 14), mode="bilinear")
        per_pixel = F.cross_entropy(logits, label[:, 0], ignore_index=255, reduction="none")
        loss = head.loss([x], [sample(one) for one in label])["loss_ce"]
        torch.testing.assert_close(loss, per_pixel[:, 0].sum() / per_pixel.numel())

    def test_the_sampler_may_be_a_config(self):
        head = FCNHead(**BASE, sampler=dict(type="OHEMPixelSampler", min_kept=10))
        assert head.sampler.context is head
        assert head.loss([torch.randn(2, 6, 9, 7)], [sample(one) for one in labels()])["loss_ce"] > 0

    def test_without_a_loss_name(self):
        with pytest.raises(TypeError, match="loss_name"):
            FCNHead(**BASE, loss_decode=nn.CrossEntropyLoss())

    def test_labels_of_two_sizes(self):
        with pytest.raises(DataError, match=r"street.png: \(1, 18, 14\), street.png: \(1, 4, 4\)"):
            FCNHead(**BASE).loss([torch.randn(2, 6, 9, 7)], [sample(labels()[0]), sample(labels(1, 4, 4)[0])])

    def test_no_labels(self):
        for no_samples in (None, labels()):
            with pytest.raises(DataError, match="(NoneType|Tensor); for labels.*upsample_cross_entropy"):
                FCNHead(**BASE).loss([torch.randn(2, 6, 9, 7)], no_samples)
        with pytest.raises(DataError, match=r"a.png.*LoadAnnotations"):
            FCNHead(**BASE).loss([torch.randn(1, 6, 9, 7)], [SegDataSample(metainfo=dict(img_path="a.png"))])


class TestBinary:
    options = {**BASE, "num_classes": 2}

    def test_one_score_and_a_threshold(self):
        bce = dict(type="CrossEntropyLoss", use_sigmoid=True)
        head = FCNHead(**self.options, out_channels=1, threshold=0.7, loss_decode=bce).eval()
        head.conv_seg.weight.data.zero_()
        for probability, expected in ((0.6, 0), (0.8, 1)):
            head.conv_seg.bias.data.fill_(math.log(probability / (1 - probability)))
            label = labels(num_classes=2)
            losses = head.loss([torch.randn(2, 6, 9, 7)], [sample(one) for one in label])
            share = (label == expected).sum() / (label != 255).sum() * 100
            torch.testing.assert_close(losses["acc_seg"], share.view(1), rtol=1e-4, atol=1e-3)
        assert head(torch.randn(2, 6, 9, 7)).shape == (2, 1, 9, 7)

    def test_default_threshold_is_said(self):
        with pytest.warns(UserWarning, match="0.3"):
            assert FCNHead(**self.options, out_channels=1).threshold == 0.3

    def test_two_scores_are_allowed_with_a_hint(self):
        with pytest.warns(UserWarning, match="out_channels=1"):
            head = FCNHead(**self.options)
        assert head.out_channels == 2 and head.threshold is None


def test_initialisation():
    head = randomise(GCHead(**{**BASE, "channels": 64}))
    from mmengine.logging import MMLogger

    MMLogger.get_current_instance().setLevel("ERROR")  # it prints every parameter
    head.init_weights()
    assert 0.005 < head.conv_seg.weight.std() < 0.015 and not head.conv_seg.bias.any()
    x = torch.randn(1, 64, 5, 5)
    assert torch.equal(head.gc_block(x), x)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(in_channels=[4, 2]), "input_transform"),
        (dict(input_transform="resize_concat"), "two lists"),
        (dict(input_transform="concat"), "resize_concat"),
        (dict(in_channels=[4, 2], in_index=[1], input_transform="resize_concat"), "same length"),
        (dict(in_channels=[4, 2], in_index=[1, 2], input_transform="multiple_select"), "one feature map"),
        (dict(out_channels=3), "3 for num_classes=5"),
        (dict(num_convs=0), "6 channels.*8"),
        (dict(num_convs=-1), "-1"),
        (dict(num_classes=0), "num_classes=0"),
        (dict(channels=0), "channels=0"),
        (dict(norm_cfg="BN"), "norm_cfg='BN'.*dict\\(type='BN'\\)"),
    ],
)
def test_wrong_options(options, words):
    with pytest.raises(ConfigError, match=words):
        FCNHead(**{**BASE, **options})


def test_unfit_features():
    with pytest.raises(ValueError, match=r"\(1, 7, 4, 4\).*in_channels=6.*make them equal"):
        FCNHead(**BASE)(torch.randn(1, 7, 4, 4))
    with pytest.raises(ValueError, match=r"\(7, 6, 4\).*expected \(N, 6, h, w\)"):
        FCNHead(**BASE)(torch.randn(7, 6, 4))
    with pytest.raises(ValueError, match=r"\(1, 4, 5, 6\).*permute\(0, 3, 1, 2\)"):  # as a Swin of timm
        FCNHead(**BASE)([torch.randn(1, 4, 5, 6)])
    with pytest.raises(ValueError, match="in_index=3.*2 feature maps"):
        FCNHead(**BASE, in_index=3)([torch.randn(1, 6, 4, 4)] * 2)


def test_features_by_name_are_taken_in_their_order():
    head = randomise(GCHead(**BASE)).eval()
    x = torch.randn(2, 6, 9, 7)
    assert torch.equal(head({"low": torch.randn(2, 3, 18, 14), "high": x}), head(x))
    output = SimpleNamespace(feature_maps=(torch.randn(2, 3, 18, 14), x), hidden_states=None)  # as of transformers
    assert torch.equal(head(output), head(x))


@pytest.mark.parametrize("make", [lambda: GCHead(**BASE), lambda: ResNet(18, base_channels=4, stem_channels=4)])
def test_initialisation_is_listed_in_the_log_of_a_run_alone(make, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(MMLogger, "_instance_dict", OrderedDict())  # the last one made is the current one
    MMLogger.get_instance("terminal")
    make().init_weights()
    seen = capfd.readouterr()
    assert "NormalInit" not in seen.out + seen.err and "same before" not in seen.out + seen.err
    file = tmp_path / "run.log"
    logger = MMLogger.get_instance("run", log_file=str(file))
    make().init_weights()
    for handler in logger.handlers:
        handler.close()
    assert "Init" in file.read_text()
