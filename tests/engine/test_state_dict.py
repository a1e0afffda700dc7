import pytest
import torch
from torch import nn

from gcseg.engine.state_dict import load_into_model
from gcseg.utils import CheckpointError


class Net(nn.Module):
    """Names like those of a segmentor, sizes of nothing."""

    def __init__(self, blocks=6, classes=5, head="gc_block", auxiliary=True, stem=True):
        super().__init__()
        self.backbone = nn.Module()
        if stem:
            self.backbone.stem = nn.Sequential(nn.Conv2d(1, 2, 1))
        for stage, n in enumerate((3, 4, blocks, 3), 1):
            layer = nn.ModuleList()
            for _ in range(n):
                block = nn.Module()
                block.conv1, block.conv3 = nn.Conv2d(1, 64, 1, bias=False), nn.Conv2d(1, 1, 1, bias=False)
                layer.append(block)
            setattr(self.backbone, f"layer{stage}", layer)
        self.decode_head = nn.Module()
        setattr(self.decode_head, head, nn.Conv2d(1, 2, 1))
        self.decode_head.conv_seg = nn.Conv2d(2, classes, 1)
        if auxiliary:
            self.auxiliary_head = nn.Conv2d(1, classes, 1)


def randomised(**kwargs):
    model = Net(**kwargs)
    for p in model.parameters():
        nn.init.normal_(p)
    return model


def test_everything_fits_and_module_prefixes_are_stripped():
    source, target = randomised(), Net()
    ckpt = {"state_dict": {f"module.{k}": v for k, v in source.state_dict().items()}, "meta": {}}
    report = load_into_model(target, ckpt, strict=True)
    assert report.complete and len(report.loaded) == len(source.state_dict())
    for key, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[key], value)


def test_fine_tuning_with_other_classes_loads_the_rest_and_lists_what_it_left_out():
    source, target = randomised(classes=5), randomised(classes=3)
    classifier = target.decode_head.conv_seg.weight.clone()
    report = load_into_model(target, {"state_dict": source.state_dict()})
    assert set(report.mismatched) == {
        f"{m}.{k}" for m in ("decode_head.conv_seg", "auxiliary_head") for k in ("weight", "bias")
    }
    assert report.mismatched["decode_head.conv_seg.bias"] == ((5,), (3,))
    assert "decode_head.conv_seg.weight: (5, 2, 1, 1) in the checkpoint, (3, 2, 1, 1) in the model" in str(report)
    assert torch.equal(target.decode_head.conv_seg.weight, classifier)
    assert torch.equal(target.backbone.layer1[0].conv1.weight, source.backbone.layer1[0].conv1.weight)


@pytest.mark.parametrize(
    "theirs, ours, words",
    [
        ({"blocks": 23}, {}, ("ResNetV1c-101", "ResNetV1c-50")),
        ({}, {"blocks": 23}, ("ResNetV1c-101", "ResNetV1c-50", "layer3")),
        ({"head": "nl_block"}, {}, ("NLHead", "GCHead")),
        ({"classes": 19}, {"classes": 11}, ("19 classes", "11", "load_from")),
        ({"stem": False}, {}, ("ResNet-50", "ResNetV1c-50")),
    ],
)
def test_another_architecture_is_named_with_what_matched(theirs, ours, words):
    target = Net(**ours)
    before = {k: v.clone() for k, v in target.state_dict().items()}
    with pytest.raises(CheckpointError) as error:
        load_into_model(target, {"state_dict": Net(**theirs).state_dict()}, strict=True, name="x.pth")
    message = str(error.value)
    assert "x.pth" in message and f"of the model's {len(before)} tensors match" in message and "\n" not in message
    for word in words:
        assert word in message
    assert all(torch.equal(v, before[k]) for k, v in target.state_dict().items())


def test_a_checkpoint_without_auxiliary_head_may_predict_and_one_without_head_may_not():
    assert load_into_model(Net(), Net(auxiliary=False).state_dict(), strict=True).missing
    assert load_into_model(Net(auxiliary=False), Net().state_dict(), strict=True).unexpected
    headless = {k: v for k, v in Net().state_dict().items() if not k.startswith("decode_head")}
    with pytest.raises(CheckpointError, match="4 are not in it"):
        load_into_model(Net(), headless, strict=True)
    assert len(load_into_model(Net(), headless).missing) == 4


def test_backbone_weights_and_strange_prefixes_are_recognised():
    whole = Net().state_dict()
    bare = {k[len("backbone.") :]: v for k, v in whole.items() if k.startswith("backbone.")}
    with pytest.raises(CheckpointError, match="backbone alone"):
        load_into_model(Net(), bare)
    prefixed = {f"student.{k}": v for k, v in whole.items()}
    with pytest.raises(CheckpointError, match=r"student\\\."):
        load_into_model(Net(), prefixed)
    assert load_into_model(Net(), prefixed, revise_keys=[(r"^student\.", "")]).complete
