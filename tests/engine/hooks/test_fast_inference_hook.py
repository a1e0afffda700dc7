import copy
import types

import pytest
import torch
from mmengine.hooks import EMAHook, Hook
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import get_priority
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from gcseg.engine.hooks import FastInferenceHook
from gcseg.models import SegTTAModel
from gcseg.utils import ConfigError


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
        self.decode_head = nn.Conv2d(4, 2, 1)
        nn.init.uniform_(self.backbone[1].weight, 0.5, 2)
        self.backbone[1].running_mean.normal_()
        self.eval()

    def forward(self, x):
        return self.decode_head.forward(self.backbone(x))

    def test_step(self, data):
        return self(data)


def runner(model, dtype=torch.float32):
    return types.SimpleNamespace(model=model, test_loop=types.SimpleNamespace(amp_dtype=dtype))


def has_norms(model):
    return any(isinstance(module, _BatchNorm) for module in model.modules())


X = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("wrap", [nn.Identity(), SegTTAModel])
def test_the_model_is_replaced_for_the_test_and_comes_back_unchanged(wrap):
    model = Net()
    state, expected = copy.deepcopy(model.state_dict()), model(X).detach()
    outer = model if isinstance(wrap, nn.Identity) else wrap(model)
    run, hook = runner(outer), FastInferenceHook()
    hook.before_test_epoch(run)
    inner = run.model if outer is model else run.model.module
    assert (run.model is outer) == (outer is not model)
    assert inner is not model and not has_norms(inner) and not next(inner.parameters()).requires_grad
    torch.testing.assert_close(inner(X), expected)
    hook.after_test_epoch(run)
    assert run.model is outer and (outer is model or outer.module is model)
    assert has_norms(model) and next(model.parameters()).requires_grad
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_inside_the_wrapper_of_several_processes():
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        model = Net()
        run, hook = runner(MMDistributedDataParallel(module=model)), FastInferenceHook()
        hook.before_test_epoch(run)
        assert run.model.module is not model and not has_norms(run.model)
        hook.after_test_epoch(run)
        assert run.model.module is model
    finally:
        torch.distributed.destroy_process_group()


def test_averaged_weights_are_the_ones_that_are_folded():
    run, hook, ema = runner(Net()), FastInferenceHook(), EMAHook()
    own = copy.deepcopy(run.model)
    ema.before_run(run)
    with torch.no_grad():
        for parameter in ema.ema_model.parameters():
            parameter.mul_(1.5)
    expected = copy.deepcopy(ema.ema_model.module)(X).detach()
    for each in sorted((hook, ema), key=lambda h: h.priority == "LOWEST"):  # the order in which the runner calls them
        each.before_test_epoch(run)
    torch.testing.assert_close(run.model(X), expected)
    for each in sorted((hook, ema), key=lambda h: h.priority == "LOWEST"):
        each.after_test_epoch(run, {})
    torch.testing.assert_close(run.model(X), own(X), rtol=0, atol=0)


def test_it_runs_after_all_other_hooks():
    assert get_priority(FastInferenceHook().priority) == 100 > get_priority(EMAHook.priority)
    assert FastInferenceHook.before_val_epoch is Hook.before_val_epoch


def test_forward_hooks_still_reach_their_owner():
    class Watch:
        seen = 0

        def look(self, module, inputs, output):
            self.seen += 1

    watch, model = Watch(), Net()
    model.backbone.register_forward_hook(watch.look)
    handle = model.decode_head.register_forward_pre_hook(lambda module, inputs: None)
    run = runner(model)
    FastInferenceHook().before_test_epoch(run)
    run.model(X)
    assert watch.seen == 1
    handle.remove()
    assert not run.model.decode_head._forward_pre_hooks


def test_the_precision_is_that_of_the_test_loop(tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text("flags\t: avx512_bf16\n")
    monkeypatch.setattr("gcseg.engine.hardware._CPUINFO", tmp_path / "cpuinfo")
    run = runner(Net(), torch.bfloat16)
    FastInferenceHook().before_test_epoch(run)
    assert {parameter.dtype for parameter in run.model.parameters()} == {torch.bfloat16}
    run = types.SimpleNamespace(model=Net(), test_loop=object())  # a loop of the user's own
    FastInferenceHook().before_test_epoch(run)
    assert {parameter.dtype for parameter in run.model.parameters()} == {torch.float32} and not has_norms(run.model)


def test_a_model_that_cannot_be_copied_is_tested_as_it_is(monkeypatch):
    said = []
    monkeypatch.setattr("gcseg.engine.hooks.fast_inference_hook.print_log", lambda text, **options: said.append(text))
    model = Net()
    model.file = open(__file__)  # noqa: SIM115
    run, hook = runner(model), FastInferenceHook()
    hook.before_test_epoch(run)
    assert run.model is model and has_norms(model) and len(said) == 1 and "cannot be copied" in said[0]
    hook.after_test_epoch(run)
    model.file.close()


def test_unknown_options_of_compile_are_refused_at_once():
    with pytest.raises(ConfigError, match="backend"):
        FastInferenceHook(compile=dict(backnd="inductor"))
