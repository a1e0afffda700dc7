"""Short runs that show whether a config works before hours are spent on it."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gcseg.apis.outcome import last_scores
from gcseg.apis.train import train
from gcseg.config import load_config, require
from gcseg.config_values import innermost_datasets
from gcseg.utils.errors import ConfigError

if TYPE_CHECKING:
    from mmengine.config import Config

LEARNT = 95.0


@dataclass(frozen=True)
class DryRun:
    """What one step of everything took.

    Attributes:
        losses: log name -> value of the step.
        metrics: of the validation; empty when the config has none.
        checkpoint_mb: size of the checkpoint.
    """

    losses: dict[str, float]
    metrics: dict[str, float]
    checkpoint_mb: float

    def as_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        return asdict(self)

    def __str__(self) -> str:
        validation = ", ".join(f"{k} {v:.2f}" for k, v in self.metrics.items()) or "the config has none"
        return (
            f"dry run: one training step ({', '.join(f'{k} {v:.4g}' for k, v in self.losses.items())}), one validation "
            f"({validation}), one checkpoint ({self.checkpoint_mb:.1f} MB): all work. Nothing was kept."
        )


@dataclass(frozen=True)
class Overfit:
    """How well one batch was learnt by heart.

    Attributes:
        iterations: steps on the batch.
        losses: total loss at the first and the last step.
        accuracy: percent of the batch's pixels that were right at the last step.
    """

    iterations: int
    losses: tuple[float, float]
    accuracy: float

    @property
    def learnt(self) -> bool:
        """Whether the batch was learnt by heart."""
        return self.accuracy >= LEARNT

    def as_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        return {**asdict(self), "learnt": self.learnt}

    def __str__(self) -> str:
        first, last = self.losses
        verdict = (
            "the network, the loss and the labels fit together"
            if self.learnt
            else f"less than {LEARNT:g} %. Look at the labels (gcseg check), the learning rate and the loss, or give "
            "more iterations"
        )
        return (
            f"overfit: loss {first:.4g} -> {last:.4g} in {self.iterations} iterations on one batch, "
            f"{self.accuracy:.1f} % of its pixels right: {verdict}"
        )


def dry_run(config: str | os.PathLike | Config, amp: bool = False, cfg_options: dict[str, Any] | None = None) -> DryRun:
    """One training step, one validation of two images, one checkpoint; the work dir of the config is not touched.

    Args:
        config: a path, the name of a packaged recipe, or a ``Config``.
        amp: as for training.
        cfg_options: overrides with dotted keys.

    Raises:
        GcsegError: whatever would end the training.
    """

    def shorten(cfg: Config) -> None:
        _one_step(cfg)
        for _, dataset in innermost_datasets(cfg, ("val_dataloader", "test_dataloader")):
            dataset["indices"] = 2

    runner, folder = _in_passing(config, amp, cfg_options, shorten)
    try:
        files = list(folder.glob("*.pth"))
        if not files:
            raise ConfigError("the dry run wrote no checkpoint: default_hooks has no CheckpointHook that saves")
        scalars = runner.message_hub.log_scalars
        losses = {
            name.removeprefix("train/"): float(history.current())
            for name, history in scalars.items()
            if name.startswith("train/") and "loss" in name
        }
        return DryRun(losses, last_scores(runner), max(f.stat().st_size for f in files) / 1e6)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def overfit(
    config: str | os.PathLike | Config,
    iterations: int = 100,
    amp: bool = False,
    cfg_options: dict[str, Any] | None = None,
) -> Overfit:
    """Train on one batch that stays the same, which every sound network learns by heart.

    The batch is the first images of the data set, in their order, with one draw of the random transforms. The learning
    rate stays what it is at first; there is no validation, and nothing is kept.

    Args:
        config: a path, the name of a packaged recipe, or a ``Config``.
        iterations: steps.
        amp: as for training.
        cfg_options: overrides with dotted keys.

    Raises:
        ConfigError: the decode head does not say how many pixels are right.
        GcsegError: whatever would end the training.
    """
    if iterations < 1:
        raise ConfigError(f"--overfit {iterations}: give the number of iterations, 1 or more")

    def repeat(cfg: Config) -> None:
        _one_step(cfg)
        loader = cfg.train_dataloader
        loader.dataset = dict(type="FixedSamples", dataset=loader.dataset, count=loader.get("batch_size", 1))
        loader.sampler = dict(type="InfiniteSampler", shuffle=False)
        loader.update(num_workers=0, persistent_workers=False)
        cfg.train_cfg.max_iters = iterations
        cfg.param_scheduler = None
        for key in ("val_dataloader", "val_cfg", "val_evaluator"):
            cfg[key] = None
        # Left out, mmengine would put in its own.
        cfg.default_hooks["checkpoint"] = dict(type="CheckpointHook", interval=-1, save_last=False)

    runner, folder = _in_passing(config, amp, cfg_options, repeat)
    shutil.rmtree(folder, ignore_errors=True)
    scalars = runner.message_hub.log_scalars
    if "train/decode.acc_seg" not in scalars:
        raise ConfigError(
            "--overfit judges by `acc_seg`, percent of the pixels that are right, which the losses of this decode head "
            "do not have; return it with them, as BaseDecodeHead does"
        )
    history = scalars["train/loss"].data[0]
    return Overfit(
        iterations, (float(history[0]), float(history[-1])), float(scalars["train/decode.acc_seg"].current())
    )


def _one_step(cfg: Config) -> None:
    """One iteration with a validation and a checkpoint after it, whatever the loop was."""
    cfg.train_cfg = dict(type="IterBasedTrainLoop", max_iters=1, val_interval=1)
    hooks = cfg.setdefault("default_hooks", {})
    saving = hooks.get("checkpoint") or dict(type="CheckpointHook")
    hooks["checkpoint"] = {**saving, "by_epoch": False, "interval": 1}
    hooks["logger"] = {**(hooks.get("logger") or dict(type="LoggerHook")), "interval": 1}


def _in_passing(
    config: Any, amp: bool, cfg_options: dict[str, Any] | None, change: Callable[[Config], None]
) -> tuple[Any, Path]:
    """Train a changed config in a folder for the time being, whose log is shown only if that fails."""
    cfg = load_config(config, cfg_options)
    require(cfg, ("model", "train_dataloader", "train_cfg", "optim_wrapper"), "training")
    change(cfg)
    _log_into_the_folder(cfg)
    folder = Path(tempfile.mkdtemp(prefix="gcseg_trial_"))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="train_cfg.max_iters is")  # short on purpose
            return train(cfg, work_dir=folder, amp=amp), folder
    except BaseException as e:
        if isinstance(e, Exception):
            _show_end_of_log(folder)
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _log_into_the_folder(cfg: Config) -> None:
    """Let the runner write its log as usual, and print warnings alone, beside a progress bar."""
    from mmengine.runner import Runner

    from gcseg.registry import RUNNERS

    cfg.runner_type = _quiet_runner(RUNNERS.get(cfg.runner_type) if cfg.get("runner_type") else Runner)
    cfg.experiment_name = "trial"  # mmengine hands out a logger again where a run has the same name and second
    bar = dict(type="ProgressBarHook", interactive=True)
    others = [h for h in cfg.get("custom_hooks") or () if not isinstance(h, dict) or h.get("type") != bar["type"]]
    cfg.custom_hooks = [*others, bar]


@cache
def _quiet_runner(kind: Any) -> str:
    """The name under which a runner like ``kind`` is registered that has a level for the file and one for the screen.

    A runner as it is has one level for both, and logs its environment while it is made.
    """
    from gcseg.engine.runner import SegRunner
    from gcseg.registry import RUNNERS

    class TrialRunner(kind):
        _experiment_name = SegRunner._experiment_name  # not that of another trial of the same second

        def build_logger(self, *args: Any, **kwargs: Any) -> logging.Logger:
            logger = super().build_logger(*args, **kwargs)
            for handler in logger.handlers:
                if not isinstance(handler, logging.FileHandler):
                    handler.setLevel(logging.WARNING)
            return logger

    name = f"Trial{kind.__name__}"
    RUNNERS.register_module(name=name, module=TrialRunner, force=True)  # in place of one like an earlier ``kind``
    return name


def _show_end_of_log(folder: Path, lines: int = 15) -> None:
    for file in folder.glob("*/*.log"):
        text = file.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()
        print("the end of its log:", *text[-lines:], sep="\n", file=sys.stderr)
