import json

import pytest
import torch

from gcseg import cli
from gcseg.analysis import measure_speed
from gcseg.utils import ConfigError


def test_every_batch_is_timed_after_the_warm_up(tiny_run, monkeypatch):
    calls, clock = [], [0.0]
    monkeypatch.setattr("gcseg.analysis.cost_timing.peak_memory", lambda work, device: 3 << 20)
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    from gcseg.models import EncoderDecoder

    predict = EncoderDecoder.predict

    def slow(self, inputs, samples=None):
        found = predict(self, inputs, samples)
        assert found[0].pred_sem_seg.data.shape == (1, 24, 40)
        calls.append((tuple(inputs.shape), self.training, torch.is_grad_enabled()))
        clock[0] += [100.0, 100.0, 0.5, 1.0, 0.4, 0.5, 0.6][len(calls) - 1]
        return found

    monkeypatch.setattr(EncoderDecoder, "predict", slow)
    found = measure_speed(tiny_run, shape=(24, 40), batch_size=2, device="cpu", repeats=5, warmup=2)
    assert calls == [((2, 3, 24, 40), False, False)] * 7
    assert found.timing.seconds == pytest.approx((0.5, 1.0, 0.4, 0.5, 0.6)) and found.fps == pytest.approx(2 / 0.5)
    assert "4.00 images/s" in str(found) and "3 MiB" in str(found) and "24x40" in str(found)
    assert found.as_dict()["spread"] == pytest.approx(0.05 / 0.5)


def test_the_command(tiny_run, capsys):
    options = ["--shape", "16", "--repeats", "2", "--warmup", "1", "--device", "cpu", "--json"]
    assert cli.main(["benchmark", str(tiny_run), *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["shape"] == [16, 16] and len(found["seconds"]) == 2 and found["images_per_second"] > 0
    assert cli.main(["benchmark", str(tiny_run), *options[:-1], "--unprepared", "--amp"]) == 2
    assert "fast=False" in capsys.readouterr().err


def test_what_cannot_be_asked_for(tiny_run):
    for arguments in (dict(repeats=0), dict(warmup=0), dict(shape=(0, 4)), dict(shape=(1, 2, 3))):
        with pytest.raises(ConfigError):
            measure_speed(tiny_run, device="cpu", **arguments)
