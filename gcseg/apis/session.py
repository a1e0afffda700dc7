"""What training and testing prepare in common before a runner is built."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gcseg.config import load_config

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner


def prepare_config(
    config: str | os.PathLike | Config,
    work_dir: str | os.PathLike | None,
    cfg_options: dict[str, Any] | None,
) -> Config:
    """Load and check a config, and settle the folders.

    Args:
        config: a path, the name of a packaged recipe, or a ``Config``.
        work_dir: takes precedence over the config; without either it is ``./work_dirs/<name of the config>``.
        cfg_options: overrides with dotted keys.
    """
    from gcseg.engine.weights import set_weights_folder

    cfg = load_config(config, cfg_options)
    if work_dir is not None:
        cfg.work_dir = str(work_dir)
    elif cfg.get("work_dir") is None:
        cfg.work_dir = str(Path("work_dirs") / (Path(cfg.filename).stem if cfg.filename else "unnamed"))
    if cfg.get("weights_dir"):
        set_weights_folder(cfg.weights_dir)
    return cfg


def open_process(cfg: Config, launcher: str) -> None:
    """Settle what is process-wide: the checkpoint door, torchvision, the process group, the hardware.

    Args:
        cfg: changed in place.
        launcher: ``"none"``, ``"pytorch"``, ``"slurm"`` or ``"mpi"``.
    """
    from gcseg.engine.checkpoint import install_safe_loader
    from gcseg.engine.hardware import adapt_config_for_hardware, hide_broken_torchvision
    from gcseg.engine.launch import init_distributed

    install_safe_loader()
    hide_broken_torchvision()
    init_distributed(launcher, cfg)
    adapt_config_for_hardware(cfg)


def add_hook(cfg: Config, kind: str, **kwargs: Any) -> None:
    """Append a hook of ours to ``custom_hooks`` unless the config already has one of its type."""
    hooks = list(cfg.get("custom_hooks") or [])
    if all(h.get("type") != kind for h in hooks if isinstance(h, dict)):
        hooks.append(dict(type=kind, **kwargs))
    cfg.custom_hooks = hooks


def build_runner(cfg: Config) -> Runner:
    """The runner that the config asks for (``runner_type``), or mmengine's."""
    from mmengine.runner import Runner

    if cfg.get("runner_type"):
        from gcseg.registry import RUNNERS

        return RUNNERS.build(cfg)
    return Runner.from_cfg(cfg)
