import json

import numpy as np
import pytest
import torch

from gcseg.analysis.lr_finder import RateSweepHook, find_lr, suggest
from gcseg.utils import ConfigError


def test_the_suggestion_is_the_steepest_fall():
    rates = np.logspace(-5, 0, 201)
    curve = 2 - 1 / (1 + np.exp(-4 * (np.log10(rates) + 3)))  # steepest at 1e-3
    curve += 5 * np.clip(np.log10(rates) + 1, 0, None) ** 2  # grows from 1e-1 on
    steepest, lowest = suggest(list(rates), list(curve))
    assert steepest == pytest.approx(1e-3, rel=0.1) and lowest == pytest.approx(0.1, rel=0.1)
    assert suggest(list(rates), list(rates + 1))[0] is None


def test_a_sweep_leaves_nothing_and_tries_every_rate(tiny_run, tmp_path, monkeypatch, run_tool, capsys):
    monkeypatch.chdir(tmp_path)
    rates = []
    step = torch.optim.SGD.step

    def spy(self, closure=None):
        rates.append([group["lr"] for group in self.param_groups])
        return step(self, closure)

    monkeypatch.setattr(torch.optim.SGD, "step", spy)
    before = sorted(p.name for p in tmp_path.rglob("*"))
    options = {
        "optim_wrapper.paramwise_cfg": dict(custom_keys=dict(decode_head=dict(lr_mult=10.0))),
        "model.backbone.frozen_stages": -1,
    }
    found = find_lr(tiny_run, 1e-4, 1e-2, 10, cfg_options=options)
    assert sorted(p.name for p in tmp_path.rglob("*")) == before
    np.testing.assert_allclose(found.rates, np.logspace(-4, -2, 10))
    assert len(found.losses) == 10 and len(rates) == 10 and found.in_config == 0.05
    np.testing.assert_allclose([max(r) for r in rates], found.rates)
    np.testing.assert_allclose([max(r) / min(r) for r in rates], 10)
    json.dumps(found.as_dict())


def test_it_ends_where_the_loss_runs_away(tiny_run):
    found = find_lr(tiny_run, 1e-1, 1e8, 18, smooth=0.5)
    assert 4 <= len(found.rates) == len(found.losses) < 18
    hook = RateSweepHook(1, 2, 10, 0, 4)

    class Runner:
        class train_loop:
            stop_training = False

    for loss in (1.0, 3.9, 4.1):
        assert not Runner.train_loop.stop_training
        hook.after_train_iter(Runner, 0, outputs={"loss": torch.tensor(loss)})
    assert Runner.train_loop.stop_training


def test_what_cannot_be_asked_for(tiny_run):
    for arguments in ((0, 1, 20), (1, 0.1, 20), (0.1, 1, 5)):
        with pytest.raises(ConfigError, match="start"):
            find_lr(tiny_run, *arguments)
