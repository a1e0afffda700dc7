"""Folding, --amp and --compile in the test and training functions, end to end."""

import json

import pytest
import tiny_run
import torch
from mmengine.config import Config
from torch.nn.modules.batchnorm import _BatchNorm

from gcseg.apis.test import test as evaluate
from gcseg.apis.test import use_amp
from gcseg.apis.train import train
from gcseg.cli import test_main
from gcseg.models.decode_heads import GCHead
from gcseg.utils import ConfigError


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A config, and a checkpoint of a model whose statistics are not the ones it began with."""
    config = tiny_run.write(tmp_path_factory.mktemp("tiny"))
    work_dir = tmp_path_factory.mktemp("run")
    train(config, work_dir=work_dir, cfg_options={"train_cfg.val_interval": 4})
    return config, work_dir / "iter_4.pth"


@pytest.fixture(scope="module")
def metrics(tiny, tmp_path_factory):
    return evaluate(*tiny, work_dir=tmp_path_factory.mktemp("plain"))


@pytest.fixture
def seen(monkeypatch):
    """(training, folded, dtype of the weights, dtype of the logits) of all passes through the head."""
    passes, forward = set(), GCHead.forward

    def watched(self, inputs):
        out = forward(self, inputs)
        folded = not any(isinstance(module, _BatchNorm) for module in self.modules())
        passes.add((self.training, folded, self.conv_seg.weight.dtype, out.dtype))
        return out

    monkeypatch.setattr(GCHead, "forward", watched)
    return passes


@pytest.fixture
def cpu_with_bf16(tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text("flags\t: fpu avx512_bf16\n")
    monkeypatch.setattr("gcseg.engine.hardware._CPUINFO", tmp_path / "cpuinfo")


def failing(graph, inputs):
    raise OSError("no C++ compiler")


class Counting:
    graphs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1
        return graph.forward


SHORT = {"train_cfg.max_iters": 1, "default_hooks.checkpoint.save_best": None}
SINGLE, LOW = torch.float32, torch.bfloat16
needs_no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU chooses its own precision")


@pytest.mark.parametrize("tta", [False, True])
def test_the_test_runs_on_a_folded_model_and_finds_the_same(tiny, tmp_path, seen, tta):
    config, checkpoint = tiny
    content = checkpoint.read_bytes()
    fast = evaluate(config, checkpoint, work_dir=tmp_path / "fast", out=tmp_path / "fast" / "out", tta=tta)
    assert seen == {(False, True, SINGLE, SINGLE)}
    seen.clear()
    plain = evaluate(
        config, checkpoint, work_dir=tmp_path / "plain", out=tmp_path / "plain" / "out", tta=tta, fast=False
    )
    assert seen == {(False, False, SINGLE, SINGLE)}
    assert fast == pytest.approx(plain, abs=1e-3) and fast["mIoU"] > 0
    assert checkpoint.read_bytes() == content
    dumped = (tmp_path / "fast" / "tiny_test.py").read_text()
    assert "FastInference" not in dumped and "custom_hooks" not in dumped


def test_training_and_its_validations_run_on_the_model_itself(tiny, tmp_path, seen):
    train(tiny[0], work_dir=tmp_path, cfg_options=SHORT)
    assert seen == {(True, False, SINGLE, SINGLE), (False, False, SINGLE, SINGLE)}


@needs_no_gpu
@pytest.mark.parametrize("tta", [False, True])
def test_amp_tests_in_bfloat16(tiny, tmp_path, seen, cpu_with_bf16, metrics, tta):
    found = evaluate(*tiny, work_dir=tmp_path, tta=tta, amp=True)
    assert seen == {(False, True, LOW, LOW)}
    written = json.loads((tmp_path / ("metrics_tta.json" if tta else "metrics.json")).read_text())
    assert written["metrics"]["mIoU"] == pytest.approx(found["mIoU"])
    if not tta:
        assert found["aAcc"] == pytest.approx(metrics["aAcc"], abs=3)


@needs_no_gpu
def test_amp_without_folding_and_in_the_precision_of_the_config(tiny, tmp_path, seen, cpu_with_bf16):
    evaluate(*tiny, work_dir=tmp_path, amp=True, fast=False)
    assert seen == {(False, False, SINGLE, LOW)}
    seen.clear()
    evaluate(*tiny, work_dir=tmp_path, amp=True, cfg_options={"test_cfg.dtype": "float32"})
    assert seen == {(False, True, SINGLE, SINGLE)}


@needs_no_gpu
def test_amp_without_the_hardware_is_one_paragraph(tiny, tmp_path, monkeypatch, capsys):
    (tmp_path / "cpuinfo").write_text("flags\t: fpu avx2\n")
    monkeypatch.setattr("gcseg.engine.hardware._CPUINFO", tmp_path / "cpuinfo")
    assert test_main([*map(str, tiny), "--amp", "--work-dir", str(tmp_path / "w")]) == 2
    message = capsys.readouterr().err
    assert "bfloat16" in message and "Leave out --amp" in message and message.count("\n") == 1
    assert not (tmp_path / "w").exists()


def test_amp_with_a_loop_of_ones_own():
    with pytest.raises(ConfigError, match=r"test_cfg\.type='MyLoop'"):
        use_amp(Config(dict(test_cfg=dict(type="MyLoop"))))


def test_a_test_whose_compiler_fails_warns_once_and_finds_the_same(tiny, tmp_path, metrics):
    torch._dynamo.reset()
    assert evaluate(*tiny, work_dir=tmp_path, compile=dict(backend=failing)) == pytest.approx(metrics)
    log = next(tmp_path.glob("*/*.log")).read_text()
    assert log.count("cannot be compiled here") == 1 and "no C++ compiler" in log


def test_a_compiled_test_finds_the_same(tiny, tmp_path, metrics):
    torch._dynamo.reset()
    backend = Counting()
    assert evaluate(*tiny, work_dir=tmp_path, compile=dict(backend=backend)) == pytest.approx(metrics)
    assert backend.graphs == 2
    with pytest.raises(ConfigError, match="excludes compile"):
        evaluate(*tiny, work_dir=tmp_path, compile=True, fast=False)


def weights(runner):
    return torch.cat([p.detach().flatten().cpu() for p in runner.model.parameters()])


@pytest.mark.slow
def test_compiled_training_and_training_whose_compiler_fails(tiny, tmp_path):
    plain = train(tiny[0], work_dir=tmp_path / "plain", cfg_options=SHORT)
    torch._dynamo.reset()
    backend = Counting()
    compiled = train(tiny[0], work_dir=tmp_path / "compiled", cfg_options=SHORT, compile=dict(backend=backend))
    assert backend.graphs == 3  # backbone and two heads; the validation runs as it is
    torch._dynamo.reset()
    failed = train(tiny[0], work_dir=tmp_path / "failed", cfg_options=SHORT, compile=dict(backend=failing))
    for runner in (compiled, failed):
        torch.testing.assert_close(weights(runner), weights(plain), rtol=1e-4, atol=1e-5)
    log = next((tmp_path / "failed").glob("*/*.log")).read_text()
    assert log.count("cannot be compiled here") == 1


def test_compile_in_the_config_is_not_left_to_mmengine(tiny, tmp_path, monkeypatch):
    config = tmp_path / "compiled.py"
    config.write_text(tiny[0].read_text() + "compile = dict(mode='default')\n")
    asked = []
    monkeypatch.setattr("gcseg.engine.compiled.compile_parts", lambda model, options, training: asked.append(options))
    runner = train(config, work_dir=tmp_path, cfg_options=SHORT)
    assert asked == [dict(mode="default")] and "train_step" not in vars(runner.model)
    assert Config.fromfile(tmp_path / "compiled.py").compile == dict(mode="default")
    with pytest.raises(ConfigError, match="backend"):
        train(tiny[0], work_dir=tmp_path, compile=dict(backnd="eager"))
