"""Try learning rates: a short training in which the rate grows from step to step (Smith 2017, arXiv 1506.01186)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mmengine.hooks import Hook

from gcseg.analysis.curves import smoothed
from gcseg.analysis.plots import new_figure, save_figure
from gcseg.utils.errors import ConfigError, TrainingError

if TYPE_CHECKING:
    from mmengine.config import Config


@dataclass(frozen=True)
class LrSweep:
    """Losses by learning rate.

    Attributes:
        rates: learning rates, ascending.
        losses: of one iteration each.
        smooth: the same, each a mean of its neighbours on both sides.
        suggestion: where the smoothed loss falls fastest; None where it falls by no more than its noise.
        limit: the rate of the lowest smoothed loss, beyond which training becomes unstable.
        in_config: the rate that the config has.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smooth: tuple[float, ...]
    suggestion: float | None
    limit: float
    in_config: float

    def __str__(self) -> str:
        end = f"{len(self.rates)} iterations from {self.rates[0]:.3g} to {self.rates[-1]:.3g}"
        if self.suggestion is None:
            return (
                f"{end}: the loss does not fall by more than its noise; give other rates (start, end) or more "
                "iterations, or look at the data"
            )
        return (
            f"{end}; the config has {self.in_config:.3g}\n"
            f"the loss falls fastest at {self.suggestion:.3g}, and is lowest at {self.limit:.3g}\n"
            f"try --cfg-options optim_wrapper.optimizer.lr={self.suggestion:.2g}"
        )

    def as_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in vars(self).items()}

    def plot(self, path: str | os.PathLike) -> Path:
        """Draw the losses; the suffix of the file says the format.

        Raises:
            ConfigError: matplotlib is not installed, or there is no such format.
        """
        figure = new_figure(6, 3.6)
        axes = figure.add_subplot(xscale="log", xlabel="learning rate", ylabel="loss")
        axes.plot(self.rates, self.losses, color="C0", alpha=0.3, linewidth=0.8)
        axes.plot(self.rates, self.smooth, color="C0")
        if self.suggestion is not None:
            axes.axvline(self.suggestion, color="C2", label=f"fastest fall {self.suggestion:.2g}")
        axes.axvline(self.in_config, color="0.5", linestyle=":", label=f"config {self.in_config:.2g}")
        low, high = min(self.losses), min(max(self.losses), 2 * self.smooth[0])
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
        axes.legend()
        axes.grid(alpha=0.3)
        return save_figure(figure, path)


def find_lr(
    config: str | os.PathLike | Config,
    start: float = 1e-5,
    end: float = 1.0,
    iterations: int = 100,
    *,
    smooth: float = 0.9,
    diverged: float = 4.0,
    amp: bool = False,
    cfg_options: dict[str, Any] | None = None,
) -> LrSweep:
    """Train a copy of a config's model for a while, with a rate that grows by the same factor in each iteration.

    Data, augmentation, batch size, weights at the beginning and optimizer are the config's; there are no validations,
    checkpoints or schedules, and nothing is kept. Parameters with a rate of their own (``lr_mult``) keep their ratio.

    Args:
        config: a path, the name of a packaged recipe, or a ``Config``; not changed.
        start: first learning rate.
        end: last learning rate.
        iterations: how many.
        smooth: how smooth the losses are made, from 0 (not at all) to below 1: in the mean that stands for a loss, one
            k iterations away on either side has the weight ``smooth ** k``.
        diverged: it ends early where the smoothed loss is so many times its lowest, above 1.
        amp: mixed precision.
        cfg_options: overrides with dotted keys.

    Raises:
        ConfigError: an option, or the config, is wrong.
        GcsegError: what training raises.
    """
    from tempfile import TemporaryDirectory

    from gcseg.apis.session import build_runner, open_process, prepare_config
    from gcseg.apis.train import use_amp
    from gcseg.config import require
    from gcseg.config_build import built_from
    from gcseg.engine.randomness import fix_seed

    smoothed([], smooth)
    if not 0 < start < end or iterations < 10:
        raise ConfigError(f"start={start}, end={end}, iterations={iterations}: 0 < start < end, at least 10 iterations")
    if not diverged > 1:
        raise ConfigError(f"diverged={diverged}: a number above 1, how many times its lowest the loss may become")
    sweep = RateSweepHook(start, end, iterations, smooth, diverged)
    with TemporaryDirectory() as folder:
        cfg = prepare_config(config, folder, cfg_options, change=use_amp if amp else None)
        require(cfg, ("model", "train_dataloader", "optim_wrapper"), "a training")
        in_config = float(cfg.optim_wrapper.optimizer.lr)
        _make_short(cfg, iterations)
        open_process(cfg, "none")
        fix_seed(cfg)
        with built_from(cfg):
            runner = build_runner(cfg, strict=False, source=str(cfg.get("load_from")))
        runner.register_hook(sweep)
        try:
            runner.train()
        except TrainingError:  # the loss was not finite: the end of what can be tried
            if len(sweep.losses) < 10:
                raise
    rates = sweep.rates[: len(sweep.losses)]
    curve, suggestion, limit = suggest(rates, sweep.losses, smooth)
    return LrSweep(tuple(rates), tuple(sweep.losses), tuple(curve), suggestion, limit, in_config)


class RateSweepHook(Hook):
    """Sets the learning rate before each iteration, and notes the loss after it."""

    priority = "LOWEST"

    def __init__(self, start: float, end: float, iterations: int, smooth: float, diverged: float) -> None:
        self.factor = (end / start) ** (1 / (iterations - 1))
        self.start, self.smooth, self.diverged = start, smooth, diverged
        self.rates: list[float] = []
        self.losses: list[float] = []
        self._ratios: list[float] = []

    def before_train(self, runner: Any) -> None:
        """Note the ratios of the parameters' rates."""
        groups = runner.optim_wrapper.param_groups
        highest = max(group["lr"] for group in groups)
        self._ratios = [group["lr"] / highest for group in groups]

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Set the rate."""
        self.rates.append(self.start * self.factor ** len(self.rates))
        for group, ratio in zip(runner.optim_wrapper.param_groups, self._ratios, strict=True):
            group["lr"] = self.rates[-1] * ratio

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Note the loss, and end the training where it has grown too far."""
        self.losses.append(float((outputs or {})["loss"].detach()))
        curve = smoothed(self.losses, self.smooth)
        if curve[-1] > self.diverged * min(curve):
            runner.train_loop.stop_training = True


def centred_means(losses: Sequence[float] | np.ndarray, weight: float) -> list[float]:
    """Means of all losses, with weights that fall by ``weight`` with each step away to either side.

    A mean of the past alone lags: by nine iterations for 0.9, which is most of a decade of rates in a sweep of sixty
    over five. And its first values are means of few losses, so that chance makes it fall fastest there.
    """
    places = np.arange(len(losses))
    weights = weight ** abs(places[:, None] - places)
    return list(map(float, weights @ losses / weights.sum(1)))


def suggest(rates: Sequence[float], losses: Sequence[float], smooth: float) -> tuple[list[float], float | None, float]:
    """Smooth the losses of a sweep, and find the rate at which they fall fastest and the one at which they are lowest.

    Losses above all of the first ten count as much as the highest of these: those that run away would hide, in the
    means of their neighbours, the fall before them.

    Args:
        rates: ascending by the same factor.
        losses: at the rates.
        smooth: see :func:`centred_means`.

    Returns:
        The smoothed losses and the two rates. The first rate is None where the smoothed losses fall by no more than the
        standard deviation of the losses around them. Chance lets losses that do not depend on the rate fall by more in
        1 of 100 sweeps.
    """
    calm = np.minimum(losses, max(losses[:10]))
    curve = centred_means(calm, smooth)
    lowest = int(np.argmin(curve))
    fall, noise = max(curve[: lowest + 1]) - curve[lowest], np.std(np.subtract(calm, curve))
    if lowest < 2 or fall <= noise:
        return curve, None, rates[lowest]
    slopes = np.subtract(curve[2 : lowest + 1], curve[: lowest - 1])
    return curve, rates[1 + int(np.argmin(slopes))], rates[lowest]


def _make_short(cfg: Config, iterations: int) -> None:
    """Turn the training of a config into one of a few iterations that leaves nothing behind."""
    cfg.train_cfg = dict(type="IterBasedTrainLoop", max_iters=iterations, val_interval=iterations + 1)
    for key in ("val_dataloader", "val_cfg", "val_evaluator", "test_dataloader", "test_cfg", "test_evaluator"):
        cfg[key] = None
    cfg.param_scheduler, cfg.custom_hooks = None, [dict(type="ProgressBarHook", interactive=True)]
    cfg.log_processor, cfg.log_level = dict(by_epoch=False), "WARNING"
    cfg.experiment_name = "lr_finder"  # mmengine hands out a logger again where a run has the same name and second
    cfg.resume = False
    cfg.visualizer = dict(type="SegLocalVisualizer", vis_backends=[])
    cfg.default_hooks = dict(checkpoint=None, param_scheduler=None)
    sampler = cfg.train_dataloader.get("sampler")
    if isinstance(sampler, dict) and sampler.get("type") == "DefaultSampler":
        sampler["type"] = "InfiniteSampler"
