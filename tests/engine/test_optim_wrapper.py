import pytest
import torch
from mmengine.config import Config
from torch import nn

from gcseg.engine.optim_wrapper import AmpOptimWrapper, amp_dtype
from gcseg.registry import OPTIM_WRAPPERS
from gcseg.utils import ConfigError, HardwareError


def yes():
    return True


def no():
    return False


def test_dtype_follows_the_hardware():
    assert amp_dtype(None, "cpu", yes, no) == torch.bfloat16
    assert amp_dtype(None, "cuda", no, yes) == torch.bfloat16
    assert amp_dtype(None, "cuda", no, no) == torch.float16
    assert amp_dtype("float16", "cuda", no, yes) == torch.float16
    assert amp_dtype("float32", "cpu", no, no) == torch.float32


@pytest.mark.parametrize(
    "dtype, device, words",
    [
        (None, "cpu", ("avx512_bf16", "Leave out --amp")),
        ("float16", "cpu", ("bfloat16",)),
        ("bfloat16", "cuda", ("float16",)),
        (None, "mps", ("mps", "--amp")),
    ],
)
def test_missing_hardware_is_one_paragraph_with_a_remedy(dtype, device, words):
    with pytest.raises(HardwareError) as error:
        amp_dtype(dtype, device, no, no)
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value)


def test_wrong_options():
    with pytest.raises(ConfigError, match="bfloat16"):
        amp_dtype("bflot16", "cpu", yes, yes)
    with pytest.raises(ConfigError, match="loss_scale"):
        AmpOptimWrapper(optimizer=torch.optim.SGD([nn.Parameter(torch.ones(1))]), loss_scale="fast", cpu_probe=yes)


def wrapper(model, **kwargs):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return AmpOptimWrapper(optimizer=optimizer, cpu_probe=yes, gpu_probe=yes, **kwargs)


def test_the_forward_pass_is_in_bfloat16_and_the_step_is_sgd():
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = nn.Linear(4, 3).to(device)
    before, x = model.weight.detach().clone(), torch.randn(5, 4, device=device)
    amp = wrapper(model, clip_grad=dict(max_norm=1e6))
    with amp.optim_context(model):
        out = model(x)
        assert out.dtype == torch.bfloat16
    loss = out.float().pow(2).sum()
    expected = torch.autograd.grad(loss, model.weight, retain_graph=True)[0]
    amp.update_params(loss)
    torch.testing.assert_close(model.weight.detach(), before - 0.1 * expected)
    assert "loss_scaler" not in amp.state_dict()


def test_states_of_other_precisions_are_accepted():
    model = nn.Linear(2, 2)
    amp = wrapper(model)
    state = amp.state_dict()
    amp.load_state_dict({**state, "loss_scaler": {"scale": 2.0}})
    assert amp.state_dict().keys() == state.keys()
    plain = wrapper(model, dtype="float32")
    with plain.optim_context(model):
        assert model(torch.ones(1, 2)).dtype == torch.float32


def test_the_registered_name_is_mmengines():
    assert OPTIM_WRAPPERS.get("AmpOptimWrapper") is AmpOptimWrapper


@pytest.mark.parametrize("kind", ["OptimWrapper", "AmpOptimWrapper", "Mine"])
def test_use_amp_edits_training_and_validation(kind, monkeypatch):
    from gcseg.apis import train
    from gcseg.engine import optim_wrapper

    monkeypatch.setattr(optim_wrapper, "amp_dtype", lambda dtype: torch.bfloat16)
    cfg = Config(dict(optim_wrapper=dict(type=kind), val_cfg=dict(type="ValLoop")))
    if kind == "Mine":
        with pytest.raises(ConfigError, match="Mine"):
            train.use_amp(cfg)
        return
    train.use_amp(cfg)
    assert cfg.optim_wrapper.type == "AmpOptimWrapper" and cfg.val_cfg.fp16
