import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import gcseg
from gcseg.analysis import AttentionProbe, grad_cam
from gcseg.apis import init_model
from gcseg.config import load_config
from gcseg.utils import ConfigError


@pytest.fixture
def model(tiny_run):
    torch.manual_seed(0)
    return init_model(load_config(tiny_run), device="cpu")


@pytest.fixture
def image(tiny_run):
    return tiny_run.parent / "img" / "p0.jpg"


def test_it_is_equation_1_and_2(model, image):
    """Gradients by finite differences: the score as a function of one channel's mean shift."""
    layer = "decode_head.conv_cat"
    found = grad_cam(model, image, "right", layer, pixel=(2, 3))
    kept, shift = [], [torch.zeros(8, 1, 1)]

    def nudge(module, args, output):
        kept.append(output.detach())
        return output + shift[0]

    model.double().get_submodule(layer).register_forward_hook(nudge)
    from gcseg.apis.images import build_preparation

    item = build_preparation(model.cfg)(image)
    data = model.data_preprocessor(dict(inputs=[item["inputs"]], data_samples=[item["data_samples"]]), False)

    def score(change):
        shift[0] = change
        with torch.no_grad():
            return model(data["inputs"].double(), data["data_samples"], mode="tensor")[0, 1, 2, 3]

    weights = []
    for channel in range(8):
        change = torch.zeros(8, 1, 1, dtype=torch.double)
        change[channel] = 1e-4
        weights.append((score(change) - score(-change)) / 2e-4)
    activations = kept[0][0]
    mean_gradient = torch.stack(weights) / activations[0].numel()
    expected = (mean_gradient[:, None, None] * activations).sum(0).relu()
    assert expected.max() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6 + 1e-3 * float(expected.max()))


def test_it_finds_the_part_of_the_image_that_a_class_is_read_from(model, image):
    class Bright(nn.Module):
        """Class 1 where the image is bright, in a model without anything else."""

        def forward(self, x):
            return x.mean(1, keepdim=True)

    model.backbone = nn.Sequential()
    model.backbone.add_module("bright", Bright())
    model.decode_head = nn.Conv2d(1, 3, 1, bias=False)
    with torch.no_grad():
        model.decode_head.weight.copy_(torch.tensor([-1.0, 1.0, 0.0]).view(3, 1, 1, 1))
    model._forward = lambda inputs, samples=None: model.decode_head(model.backbone(inputs))
    picture = np.zeros((32, 40, 3), np.uint8)
    picture[:, 20:] = 255
    cam = grad_cam(model, picture, 1, "backbone.bright")
    assert (cam[:, :20] == 0).all() and (cam[:, 20:] > 0).all()
    dark = grad_cam(model, picture, 0, "backbone.bright")
    assert (dark[:, :20] > 0).all() and (dark[:, 20:] == 0).all()


def test_the_model_stays_as_it_is(model, image):
    before = {k: v.clone() for k, v in model.state_dict().items()}
    grad_cam(model, image, 0, "backbone.layer4")
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters()) and not model.training
    assert not any(m._forward_hooks for m in model.modules())


def test_a_model_in_training_is_refused_and_stays_as_it_is(model, image):
    before = {k: v.clone() for k, v in model.train().state_dict().items()}
    with pytest.raises(ConfigError, match="training mode"):
        grad_cam(model, image, 0)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_one_score_speaks_for_class_1_and_against_class_0(image):
    torch.manual_seed(0)
    model = gcseg.create_model("gcnet_r18-d8", num_classes=1).eval()
    layer, head = "decode_head.conv_cat", model.decode_head
    with torch.no_grad():  # the score is the first channel, from 0 on: never below the threshold of a half
        head.conv_seg.weight.zero_()
        head.conv_seg.weight[0, 0] = 1
    assert grad_cam(model, image, "foreground", layer).max() > 0
    assert grad_cam(model, image, "background", layer).max() == 0
    for head.threshold, labels in ((1e-6, {1}), (0.5, {0, 1}), (1 - 1e-6, {0})):  # logits of -13.8, 0 and 13.8
        assert set(AttentionProbe(model)(image).labels.unique().tolist()) == labels


def test_what_cannot_be_asked_for(model, image):
    for arguments, words in (
        (dict(category="rigth"), "Did you mean 'right'"),
        (dict(category=3), "0 to 2"),
        (dict(category=0, layer="backbone.layer5"), "Did you mean 'backbone.layer4'"),
        (dict(category=0, layer="backbone"), "no feature map"),
        (dict(category=0, layer="auxiliary_head.convs"), "no part"),
        (dict(category=0, pixel=(0, 1000)), "outside"),
    ):
        with pytest.raises(ConfigError, match=words):
            grad_cam(model, image, **arguments)


def test_the_tool_paints(model, image, tiny_run, tmp_path, run_tool, capsys):
    torch.save(dict(state_dict=model.state_dict()), tmp_path / "tiny.pth")
    common = [image, tiny_run, tmp_path / "tiny.pth", "--device", "cpu"]
    assert run_tool("visualization_cam", *common, "--classes", "left", 1, "--out", tmp_path / "cam.png") == 0
    assert run_tool("visualization_cam", *common, "--attention", "--out", tmp_path / "attention.png") == 0
    capsys.readouterr()
    cam, attention = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("cam", "attention"))
    assert cam.shape[1] > attention.shape[1] > 300 and cam.std() > 10
