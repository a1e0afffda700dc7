"""What training and testing prepare in common before a runner is built."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gcseg.config import load_config
from gcseg.utils.errors import ConfigError

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner


def prepare_config(
    config: str | os.PathLike | Config,
    work_dir: str | os.PathLike | None,
    cfg_options: dict[str, Any] | None,
    change: Callable[[Config], None] | None = None,
) -> Config:
    """Load and check a config, and settle the folders.

    Args:
        config: a path, the name of a packaged recipe, or a ``Config``.
        work_dir: takes precedence over the config; without either it is ``./work_dirs/<name of the config>``.
        cfg_options: overrides with dotted keys.
        change: applied before the check, so that overrides may speak of what it puts in.

    Raises:
        ConfigError: the config is wrong, or ``work_dir`` cannot be made.
    """
    from gcseg.config_check import check_config, check_sections
    from gcseg.engine.weights import set_weights_folder

    cfg = load_config(config, cfg_options, check=change is None)
    if change is not None:
        check_sections(cfg)
        change(cfg)
        check_config(cfg)
    if work_dir is not None:
        cfg.work_dir = str(work_dir)
    elif cfg.get("work_dir") is None:
        cfg.work_dir = str(Path("work_dirs") / (Path(cfg.filename).stem if cfg.filename else "unnamed"))
    cfg.work_dir = os.path.expanduser(cfg.work_dir)  # mmengine would take ~ for the name of a folder
    try:
        Path(cfg.work_dir).mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise ConfigError(f"work_dir {cfg.work_dir!r} cannot be made: {e}; give another one by --work-dir") from e
    if cfg.get("weights_dir"):
        set_weights_folder(str(cfg.weights_dir))
    return cfg


def limit_data(cfg: Config, count: int) -> None:
    """Let every data set of a config have its first ``count`` images alone.

    Args:
        cfg: changed in place.
        count: at least 1.

    Raises:
        ConfigError: another number.
    """
    from gcseg.config_values import innermost_datasets

    if count < 1:
        raise ConfigError(f"--limit {count}: give the number of images, 1 or more")
    for _, dataset in innermost_datasets(cfg):
        dataset["indices"] = count


def open_process(cfg: Config, launcher: str) -> None:
    """Settle what is process-wide: how files are read and written, torchvision, the process group, the hardware.

    Args:
        cfg: changed in place.
        launcher: ``"none"``, ``"pytorch"``, ``"slurm"`` or ``"mpi"``.
    """
    from gcseg.engine.atomic_files import install_atomic_files
    from gcseg.engine.checkpoint import install_safe_loader
    from gcseg.engine.hardware import adapt_config_for_hardware, hide_broken_torchvision
    from gcseg.engine.launch import init_distributed

    install_safe_loader()
    install_atomic_files()
    hide_broken_torchvision()
    init_distributed(launcher, cfg)
    adapt_config_for_hardware(cfg)


def build_runner(cfg: Config, strict: bool, source: str) -> Runner:
    """The runner that the config asks for (``runner_type``), or ours, with the hooks every run of ours has.

    The hooks are given to the runner and not written into the config, so that the dumped config is what the user wrote.

    Args:
        cfg: the whole config.
        strict: a checkpoint that is loaded must fit the model whole; see ``LoadReportHook``.
        source: what to call that checkpoint in errors.
    """
    from mmengine.dist import get_world_size
    from mmengine.model import is_model_wrapper

    from gcseg.engine.hardware import lay_out_channels_last
    from gcseg.engine.hooks import (
        ClassesHook,
        IterationSeedHook,
        LoadReportHook,
        ProcessesHook,
        ProgressBarHook,
        ResumeReportHook,
        StandstillHook,
    )
    from gcseg.engine.runner import SegRunner
    from gcseg.registry import RUNNERS

    _name_visualizer_apart(cfg)
    runner = RUNNERS.build(cfg) if cfg.get("runner_type") else SegRunner.from_cfg(cfg)
    if not is_model_wrapper(runner.model):  # a wrapper has laid out its buffers already
        lay_out_channels_last(runner.model)
    runner.register_hook(ClassesHook())
    runner.register_hook(IterationSeedHook())
    runner.register_hook(LoadReportHook(strict=strict, name=source))
    runner.register_hook(ResumeReportHook())
    if get_world_size() > 1:
        runner.register_hook(ProcessesHook())
        runner.register_hook(StandstillHook())
    if not any(isinstance(hook, ProgressBarHook) for hook in runner.hooks):
        runner.register_hook(ProgressBarHook())
    return runner


def _name_visualizer_apart(cfg: Config) -> None:
    """A visualizer of a name already used in this process would be handed out again, with the folder of that run."""
    from mmengine.visualization import Visualizer

    visualizer = cfg.get("visualizer")
    if not isinstance(visualizer, dict) or not visualizer.get("name"):
        return
    from gcseg.registry import VISUALIZERS

    kind = VISUALIZERS.get(visualizer.get("type", "Visualizer")) or Visualizer
    base, count = visualizer["name"], 1
    while kind.check_instance_created(visualizer["name"]):
        count += 1
        visualizer["name"] = f"{base}_{count}"
