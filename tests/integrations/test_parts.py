"""Blocks and heads inside the networks of other libraries, and their backbones inside a segmentor."""

import copy

import pytest
import torch
from integration_page import run, train, two_classes
from mmengine.structures import PixelData
from torch import nn

import gcseg
from gcseg.models import EncoderDecoder, GCHead
from gcseg.models.context import GlobalContext
from gcseg.structures import SegDataSample


def block_of(network):
    (block,) = (module for module in network.modules() if isinstance(module, GlobalContext))
    return block


@pytest.mark.parametrize(
    ("title", "name", "logits"),
    [
        ("segmentation_models.pytorch", "fpn", lambda output: output),
        ("torchvision", "fcn", lambda output: output["out"]),
        ("torchvision", "classifier", lambda output: output[..., None, None].expand(-1, -1, 64, 64)),
    ],
)
def test_what_was_put_into_a_network_of_theirs_is_trained(title, name, logits):
    network = copy.deepcopy(run(title)[name])
    block = block_of(network)
    assert not block.channel_add_conv[3].weight.any()
    before = copy.deepcopy(network.state_dict())
    losses = train(network, 6, logits)
    assert losses[-1] < 0.8 * losses[0], losses
    assert block.channel_add_conv[3].weight.any()
    assert not torch.equal(block.conv_mask.weight, before[f"{name_of(block, network)}.conv_mask.weight"])


def name_of(module, network):
    return next(name for name, found in network.named_modules() if found is module)


def test_the_head_stands_in_deeplab_as_in_fcn():
    from torchvision.models.segmentation import deeplabv3_resnet50

    network = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=21).eval()
    network.classifier = GCHead(in_channels=2048, channels=16, num_classes=19).eval()
    images, _ = two_classes(1)
    with torch.inference_mode():
        assert network(images)["out"].shape == (1, 19, *images.shape[-2:])


def test_features_can_be_extracted_of_a_network_with_a_block():
    from torchvision.models.feature_extraction import create_feature_extractor

    network = copy.deepcopy(run("torchvision")["classifier"])
    nn.init.normal_(block_of(network).channel_add_conv[3].weight)
    features = create_feature_extractor(network, ["layer3", "avgpool"]).eval()
    images, _ = two_classes()
    with torch.inference_mode():
        found = features(images)
        assert torch.equal(network.fc(found["avgpool"].flatten(1)), network(images))
        assert found["layer3"].shape == (2, 256, 4, 4)


def test_a_transformer_of_timm_needs_its_channels_first():
    timm = pytest.importorskip("timm")
    options = dict(img_size=(64, 64), embed_dim=12, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1), features_only=True)
    images, _ = two_classes()
    last = timm.create_model("swin_tiny_patch4_window7_224", **options)
    with pytest.raises(ValueError, match=r"permute\(0, 3, 1, 2\)"):
        gcseg.create_model(backbone=last, head="gc", num_classes=2)(images)
    first = timm.create_model("swin_tiny_patch4_window7_224", feature_cls="getter", **options)
    model = gcseg.create_model(backbone=first, head="gc", num_classes=2)
    assert model(images).shape == (2, 2, 2, 2) and model.decode_head.in_channels == 96


def test_a_block_at_the_end_of_a_stage_leaves_the_names_of_trained_layers():
    from torchvision.models import resnet18

    trained = resnet18(weights=None)
    network = copy.deepcopy(run("torchvision")["classifier"])
    missing, unexpected = network.load_state_dict(trained.state_dict(), strict=False)
    assert not unexpected and {name.rpartition(".")[0] for name in missing} == {
        f"layer3.2.{part}" for part in ("conv_mask", "channel_add_conv.0", "channel_add_conv.1", "channel_add_conv.3")
    }
    images, _ = two_classes()
    with torch.inference_mode():
        assert torch.equal(network.eval()(images), trained.eval()(images))


def test_a_block_around_every_residual_block_of_a_stage():
    from torchvision.models import resnet18

    network = resnet18(weights=None).eval()
    images, _ = two_classes()
    before = network(images)
    for i, residual in enumerate(network.layer3):
        network.layer3[i] = nn.Sequential(residual, GlobalContext(256, ratio=1 / 4))
    after = network(images)
    assert torch.equal(after, before)
    after.square().sum().backward()
    for residual in network.layer3:
        assert residual[1].channel_add_conv[3].weight.grad.any()


@pytest.mark.parametrize("title", ["timm", "Hugging Face transformers"])
def test_a_segmentor_around_their_backbone_trains_and_predicts(title):
    segmentor = copy.deepcopy(run(title)["segmentor"]).train()
    images, labels = two_classes()
    samples = [SegDataSample(gt_sem_seg=PixelData(data=label[None])) for label in labels]
    optimizer = torch.optim.Adam(segmentor.parameters(), lr=2e-3)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = segmentor(images, samples, mode="loss")["decode.loss_ce"]
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    assert losses[-1] < 0.6 * losses[0], losses
    with torch.inference_mode():
        results = segmentor.eval().predict(images)
        expected = nn.functional.interpolate(segmentor(images), images.shape[-2:], mode="bilinear")
    for result, logits in zip(results, expected, strict=True):
        assert torch.allclose(result.seg_logits.data, logits, atol=1e-4)
        assert (result.pred_sem_seg.data[0] == logits.argmax(0)).float().mean() > 0.999


@pytest.mark.parametrize("kind", ["ContextBlock", "GeneralContext", "SimplifiedNonLocal", "SE", "NonLocal2d"])
def test_every_block_is_a_plugin_of_mmcv(kind):
    from mmcv.cnn import build_plugin_layer

    import gcseg.registry  # noqa: F401

    options = dict(ratio=1 / 4) if kind == "ContextBlock" else {}
    name, block = build_plugin_layer(dict(type=f"gcseg.{kind}", **options), postfix="_1", in_channels=16)
    assert name.endswith("_1") and isinstance(block, nn.Module)
    assert block(torch.ones(1, 16, 3, 3)).shape == (1, 16, 3, 3)


def test_the_windows_of_mmsegmentation_say_their_size_in_img_shape_alone():
    head = GCHead(in_channels=4, channels=4, num_classes=3).eval()
    features, meta = torch.randn(1, 4, 2, 2), dict(img_shape=(16, 16), pad_shape=(64, 80))
    assert head.predict(features, [meta], dict(mode="slide", crop_size=(16, 16))).shape == (1, 3, 16, 16)
    assert head.predict(features, [meta], dict(mode="whole")).shape == (1, 3, 64, 80)


class Foreign(nn.Module):
    """A backbone as other libraries have them: its own ``init_weights`` would begin again."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 1)

    def init_weights(self):
        nn.init.zeros_(self.conv.weight)

    def forward(self, x):
        return [self.conv(x)]


def test_init_weights_of_a_segmentor_leaves_a_finished_backbone_as_it_is():
    backbone = Foreign()
    head = GCHead(in_channels=8, channels=8, num_classes=19)
    segmentor = EncoderDecoder(backbone, head)
    before = copy.deepcopy(segmentor.state_dict())
    segmentor.init_weights()
    assert torch.equal(backbone.conv.weight, before["backbone.conv.weight"])
    assert not torch.equal(head.conv_seg.weight, before["decode_head.conv_seg.weight"])  # theirs is ours to begin
