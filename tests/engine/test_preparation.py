import copy

import pytest
import torch
from random_segmentor import build, error, images
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from gcseg.engine import prepare_for_inference
from gcseg.engine.fold import fold_batch_norms
from gcseg.utils import ConfigError, HardwareError


@pytest.fixture
def cpu_with_bf16(tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text("flags\t: fpu avx512_bf16\n")
    monkeypatch.setattr("gcseg.engine.hardware._CPUINFO", tmp_path / "cpuinfo")


@pytest.mark.parametrize("dtype, allowed", [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("depth", [18, 50])
def test_it_is_folded_laid_out_and_frozen_and_gives_the_same_logits(depth, dtype, allowed):
    model = build(depth).to(dtype)
    x = images(dtype=dtype)
    expected = model(x).detach()
    model.train()
    assert prepare_for_inference(model) is model
    assert not any(isinstance(module, _BatchNorm) or module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert all(c.weight.is_contiguous(memory_format=torch.channels_last) for c in convolutions)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    assert error(model(x), expected) < allowed
    assert not hasattr(model, "inference_dtype")


@pytest.mark.parametrize("head", ["GCHead", "NLHead", "NLHead concatenation", "DNLHead", "FCNHead"])
def test_weights_are_converted_once_to_what_autocast_makes_of_them(head, cpu_with_bf16):
    kind, _, mode = head.partition(" ")
    options = dict(type=kind, **(dict(mode=mode) if mode else {}))
    model = build(head=options)
    folded = copy.deepcopy(model)
    fold_batch_norms(folded)
    folded.to(memory_format=torch.channels_last)
    prepare_for_inference(model, "bfloat16")
    assert model.inference_dtype == torch.bfloat16
    for module in model.modules():
        expected = torch.bfloat16 if isinstance(module, nn.Conv2d) else torch.float32
        assert {p.dtype for p in module.parameters(recurse=False)} <= {expected}, module
    x = images()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model(x), folded(x))
    exact = build(head=options)
    with torch.no_grad():
        assert 0 < error(model_under_autocast(model, x), exact(x)) < 0.3


def model_under_autocast(model, x):
    with torch.autocast("cpu", torch.bfloat16):
        return model(x).float()


def test_layers_that_do_more_than_autocast_knows_keep_their_weights(cpu_with_bf16):
    class Scaled(nn.Linear):
        def forward(self, x):
            return super().forward(x) * self.weight.norm()

    hooked = nn.Conv2d(3, 3, 1)
    hooked.register_forward_pre_hook(lambda module, x: None)
    model = nn.Sequential(Scaled(3, 3), hooked, nn.utils.spectral_norm(nn.Linear(3, 3)), nn.Linear(3, 3))
    prepare_for_inference(model, torch.bfloat16)
    assert [next(part.parameters()).dtype for part in model] == [torch.float32] * 3 + [torch.bfloat16]


def test_float64_is_not_lowered(cpu_with_bf16):
    model = build().double()
    prepare_for_inference(model, "bfloat16")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}


def test_a_dtype_the_hardware_lacks_leaves_the_model_alone(tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text("flags\t: fpu avx2\n")
    monkeypatch.setattr("gcseg.engine.hardware._CPUINFO", tmp_path / "cpuinfo")
    model = build()
    before = list(model.state_dict())
    with pytest.raises(HardwareError, match="bfloat16"):
        prepare_for_inference(model, "bfloat16")
    with pytest.raises(ConfigError, match="bfloat16"):
        prepare_for_inference(model, "bfloat61")
    with pytest.raises(ConfigError, match="mode"):
        prepare_for_inference(model, compile=dict(moed="max-autotune"))
    assert list(model.state_dict()) == before


def test_twice_is_as_good_as_once(cpu_with_bf16):
    model, x = build(), images()
    prepare_for_inference(model, "bfloat16")
    once = model_under_autocast(model, x)
    prepare_for_inference(model, "bfloat16")
    assert torch.equal(model_under_autocast(model, x), once)
