import importlib
import sys

import pytest
import torch
from mmengine.config import Config

from gcseg.engine.hardware import (
    adapt_config_for_hardware,
    cpu_has_bf16,
    hide_broken_torchvision,
    lay_out_channels_last,
)


def test_flags_of_proc_cpuinfo():
    assert cpu_has_bf16("processor : 0\nflags\t\t: fpu avx512f avx512_bf16\n")
    assert cpu_has_bf16("flags\t: fpu amx_bf16 amx_tile\n")
    assert cpu_has_bf16("Features\t: fp asimd bf16\n")
    assert not cpu_has_bf16("model name : bf16 wonder\nflags\t\t: fpu avx512f avx2\n")
    assert not cpu_has_bf16("")


def config():
    norm = dict(type="SyncBN", requires_grad=True)
    return Config(
        dict(
            norm_cfg=norm,
            model=dict(backbone=dict(norm_cfg=norm), heads=[dict(norm_cfg=norm), dict(norm_cfg=dict(type="GN"))]),
            env_cfg=dict(dist_cfg=dict(backend="nccl")),
            train_dataloader=dict(num_workers=0, persistent_workers=True),
            val_dataloader=dict(num_workers=2, persistent_workers=True),
        )
    )


@pytest.mark.parametrize("world_size, has_gpu, kind", [(1, True, "BN"), (4, False, "BN"), (4, True, "SyncBN")])
def test_sync_bn_stays_only_for_several_gpus(world_size, has_gpu, kind, monkeypatch):
    said = []
    monkeypatch.setattr("mmengine.logging.print_log", lambda text, **kwargs: said.append(text))
    cfg = adapt_config_for_hardware(config(), world_size=world_size, has_gpu=has_gpu)
    assert cfg.model.backbone.norm_cfg == dict(type=kind, requires_grad=True)
    assert cfg.model.heads[0].norm_cfg.type == kind and cfg.model.heads[1].norm_cfg.type == "GN"
    assert cfg.env_cfg.dist_cfg.backend == ("nccl" if has_gpu else "gloo")
    assert "persistent_workers" not in cfg.train_dataloader and cfg.val_dataloader.persistent_workers
    assert any("SyncBN is replaced" in text for text in said) == (kind == "BN")


def test_a_torchvision_that_breaks_at_import_looks_absent(tmp_path, monkeypatch):
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("import torchvision.part\nraise RuntimeError('operator nms does not exist')")
    (package / "part.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [m for m in sys.modules if m.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    try:
        assert hide_broken_torchvision() and hide_broken_torchvision()
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("torchvision")
    finally:
        for name in [m for m in sys.modules if m.partition(".")[0] == "torchvision"]:
            del sys.modules[name]


@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "done"), [(16, 1, 2, 1), (8, 1, 1, 1), (8, 3, 2, 1), (8, 1, 2, 0)]
)
def test_channels_last_leaves_out_what_kills_the_process(channels, kernel, stride, done):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 32, 3), torch.nn.Conv2d(channels, 32, kernel, stride))
    assert lay_out_channels_last(model) == bool(done)
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last) == bool(done)


def test_no_test_can_run_what_kills_the_process():
    narrow, x = torch.nn.Conv2d(8, 16, 1, 2), torch.randn(2, 8, 128, 256)
    for order in (dict(), dict(memory_format=torch.channels_last)):
        with pytest.raises(AssertionError, match="kill"):
            narrow.to(**order)(x.to(memory_format=torch.channels_last))
    with pytest.raises(AssertionError, match="kill"):
        narrow(x)
    with torch.no_grad():
        narrow(x)


@pytest.mark.parametrize("channels", [8, 16])
def test_the_backward_pass_of_a_strided_1x1_convolution_survives(channels):
    model = torch.nn.Conv2d(channels, 16, 1, 2, bias=False)
    expected = torch.nn.Conv2d(channels, 16, 1, 2, bias=False)
    expected.load_state_dict(model.state_dict())
    lay_out_channels_last(model)
    x = torch.randn(2, channels, 128, 128)
    for net in (model, expected):
        net(x).square().sum().backward()
    torch.testing.assert_close(model.weight.grad, expected.weight.grad, rtol=1e-4, atol=1e-1)
