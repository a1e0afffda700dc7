"""The networks of docs/integrations.md do what a user wants of them, not only run."""

import copy
import io

import pytest
import torch
from integration_page import PROGRAMS, run, train, two_classes


def test_the_programs_are_found():
    assert list(PROGRAMS) == ["timm", "segmentation_models.pytorch", "torchvision", "Hugging Face transformers"]


@pytest.fixture(params=PROGRAMS)
def model(request):
    model = run(request.param)["model"]
    before = copy.deepcopy(model.state_dict())
    yield model
    model.load_state_dict(before)
    model.eval().requires_grad_(True).zero_grad()


def test_a_few_steps_train_head_and_backbone(model):
    before = copy.deepcopy(model.state_dict())
    losses = train(model, 8)
    assert losses[-1] < 0.6 * losses[0], losses
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and not torch.equal(parameter, before[name]), f"{name} was not trained"


def test_an_image_of_an_odd_size_has_logits_of_its_size(model):
    with torch.inference_mode():
        assert model(torch.randn(1, 3, 65, 81)).shape == (1, 19, 65, 81)


def test_a_list_and_its_last_map_give_the_same(model):
    received = []
    hook = model.head.register_forward_pre_hook(lambda _, args: received.append(args[0]))
    with torch.inference_mode():
        model(two_classes()[0])
        hook.remove()
        features = getattr(received[0], "feature_maps", received[0])
        if model.head.input_transform is not None:
            with pytest.raises(ValueError, match="pass a list of feature maps"):
                model.head(features[-1])
            return
        features = [features] if torch.is_tensor(features) else list(features)
        assert torch.equal(model.head(features[-1]), model.head(features))
        assert torch.equal(model.head(features[-1]), model.head([torch.zeros(1), *features]))


def test_bfloat16_is_near_float32(model):
    train(model, 2)
    images, _ = two_classes()
    with torch.inference_mode():
        full = model.eval()(images)
        with torch.autocast("cpu", torch.bfloat16):
            low = model(images)
    assert low.dtype == torch.bfloat16
    assert 0 < (low - full).abs().max() < 0.05 * full.abs().max()


def test_the_exported_program_gives_the_same(model):
    images, _ = two_classes()
    train(model, 1)
    model.eval().requires_grad_(False)
    shapes = dict(images={0: torch.export.Dim("batch", min=1, max=16)})
    program = torch.export.export(model, (images,), dynamic_shapes=shapes, strict=False)
    more = torch.cat([images, images.flip(-1), images[:1]])
    assert torch.allclose(program.module()(more), model(more), rtol=1e-4, atol=1e-5)


def test_saved_weights_give_the_same(model):
    train(model, 1)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    images, _ = two_classes()
    with torch.no_grad():
        logits = model.eval()(images)
        for tensor in model.state_dict().values():
            tensor.zero_()
        assert not torch.equal(model(images), logits)
        model.load_state_dict(torch.load(file, weights_only=True))
        assert torch.equal(model(images), logits)
    assert "head.gc_block.channel_add_conv.3.weight" in model.state_dict()
