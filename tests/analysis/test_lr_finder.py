import json

import numpy as np
import pytest
import torch

from gcseg.analysis.lr_finder import LrSweep, RateSweepHook, centred_means, find_lr, suggest
from gcseg.utils import ConfigError


def sweep(iterations):
    """Rates and losses without noise: steepest fall at 1e-2, lowest near 1e-1; as on CamVid with a ResNet-18."""
    rates = np.logspace(-5, 0, iterations)
    decades = np.log10(rates)
    return rates, 3.1 - 1 / (1 + np.exp(-4 * (decades + 2))) + 2.5 * np.clip(decades + 0.9, 0, None) ** 2


def test_the_suggestion_is_the_steepest_fall():
    rates, losses = sweep(201)
    curve, steepest, lowest = suggest(rates, losses, 0)
    assert steepest == pytest.approx(1e-2, rel=0.1) and lowest == pytest.approx(0.12, rel=0.1)
    assert suggest(rates, rates + 1, 0)[1] is None
    np.testing.assert_allclose(curve, np.minimum(losses, losses[0]))
    ran_away = [3.0, 2.9, 2.5, 2.4, 2.3, 9.0, 30.0, 8.0, 3.0, 3.0]
    assert suggest(rates[:10], ran_away, 0)[1:] == (rates[1], rates[4])


@pytest.mark.parametrize("runs_away", [False, True])
@pytest.mark.parametrize("iterations", [60, 100, 300])
def test_noise_moves_the_suggestion_by_less_than_a_factor_of_three(iterations, runs_away):
    """A mean of the past alone was wrong by more than that in 40 of 100 sweeps, a mean with what runs away in all."""
    rng = np.random.default_rng(0)
    rates, clean = sweep(iterations)
    if runs_away:
        clean = clean + np.where(rates > 0.15, (rates / 0.15) ** 4, 0)
    found, chance = [], 0
    for _ in range(100):
        found.append(suggest(rates, clean + rng.normal(0, 0.14, iterations), 0.9)[1:])
        chance += suggest(rates, 3 + rng.normal(0, 0.14, iterations), 0.9)[1] is not None
    suggestions, limits = np.log10(np.array(found, float)).T
    assert np.sum(abs(suggestions + 2) > 0.5) <= 2 and abs(np.median(suggestions) + 2) < 0.2
    assert -1.5 < np.median(limits) < -0.9 and chance <= 5


def test_means_look_both_ways():
    expected = [(4 + 0.5 * 2 + 0.25 * 1) / 1.75, (0.5 * 4 + 2 + 0.5 * 1) / 2, (0.25 * 4 + 0.5 * 2 + 1) / 1.75]
    assert centred_means([4.0, 2.0, 1.0], 0.5) == pytest.approx(expected)
    assert centred_means([4.0, 2.0, 1.0], 0) == [4.0, 2.0, 1.0]


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
    with pytest.raises(ConfigError, match="smooth=1"):
        find_lr("no such recipe", smooth=1)
    for diverged in (1, float("nan")):
        with pytest.raises(ConfigError, match="diverged"):
            find_lr("no such recipe", diverged=diverged)


def test_a_loss_that_only_scatters_suggests_nothing(tiny_run, run_tool, capsys):
    rates = ("--start", "1e-9", "--end", "1e-8", "--iterations", "12")
    assert run_tool("lr_finder", tiny_run, *rates) == 1
    said = capsys.readouterr()
    assert "does not fall by more than its noise" in said.out and len(said.out.splitlines()) <= 3
    assert "12/12" in said.err


def test_the_picture_has_all_losses_but_those_that_ran_away(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    kept = []
    monkeypatch.setattr("gcseg.analysis.lr_finder.save_figure", lambda figure, path: kept.append(figure))
    rates, losses = (1e-3, 1e-2, 1e-1, 1.0), (3.0, 1.0, 2.0, 50.0)
    LrSweep(rates, losses, (2.5, 2.0, 2.5, 20.0), 1e-2, 1e-1, 2e-2).plot(tmp_path / "x.png")
    axes = kept[0].axes[0]
    low, high = axes.get_ylim()
    assert low < 1.0 and 5.0 < high < 6.0
    assert [line.get_label() for line in axes.lines[2:]] == ["fastest fall 0.01", "config 0.02"]
