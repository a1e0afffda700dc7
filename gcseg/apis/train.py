"""Training from a config: one importable function."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gcseg.apis.reporting import prepare_report
from gcseg.apis.session import build_runner, limit_data, open_process, prepare_config
from gcseg.config import require
from gcseg.config_build import built_from
from gcseg.config_values import warn_of_schedule

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner


def train(
    config: str | os.PathLike | Config,
    work_dir: str | os.PathLike | None = None,
    *,
    resume: bool = False,
    amp: bool = False,
    cfg_options: dict[str, Any] | None = None,
    launcher: str = "none",
    compile: bool | Mapping[str, Any] = False,
    auto_scale_lr: bool = False,
    limit: int | None = None,
    report: bool | str | os.PathLike = False,
) -> Runner:
    """Train, with the validations and checkpoints the config asks for.

    Args:
        config: a path, the name of a packaged recipe, or a ``Config``.
        work_dir: logs, checkpoints and the dumped config; ``./work_dirs/<name of the config>`` by default.
        resume: go on from the newest whole checkpoint in ``work_dir``, from the beginning when there is none. A
            ``load_from`` given in ``cfg_options`` is resumed from instead, as is one in the config while ``work_dir``
            has no checkpoint. False leaves what the config says about resuming as it is.
        amp: mixed precision, in validations too; see :class:`gcseg.engine.AmpOptimWrapper`.
        cfg_options: overrides with dotted keys.
        launcher: ``"none"``, ``"pytorch"``, ``"slurm"`` or ``"mpi"``.
        compile: ``torch.compile`` backbone and heads for training: True, or arguments of ``torch.compile``. The first
            iteration takes minutes; where it fails, a warning says why. False leaves it to the config's ``compile``.
        auto_scale_lr: multiply the learning rate by the batch size of this run, over all processes and accumulated
            iterations, over that of the recipe; see :mod:`gcseg.engine.batch_size`.
        limit: use only so many images of each data set.
        report: write a page about the training and its last validation to this file, or with True to ``report.html`` in
            ``work_dir``; validations take longer, see :class:`gcseg.engine.hooks.ReportHook`.

    Returns:
        The runner, trained.

    Raises:
        GcsegError: something the user can mend: config, data, checkpoint, hardware. Its text is one paragraph.
    """
    from gcseg.engine.batch_size import batch_size_hook
    from gcseg.engine.compiled import check_options, compile_parts
    from gcseg.engine.hooks.checkpoint_hook import wait_for_checkpoints
    from gcseg.engine.host_memory import keep_freed_memory
    from gcseg.engine.randomness import fix_seed
    from gcseg.engine.watch import end_together

    def change(cfg: Config) -> None:
        if amp:
            use_amp(cfg)
        if limit is not None:
            limit_data(cfg, limit)

    check_options(compile)
    cfg = prepare_config(config, work_dir, cfg_options, change if amp or limit is not None else None)
    check_options(cfg.get("compile"))
    require(cfg, ("model", "train_dataloader", "train_cfg", "optim_wrapper"), "training")
    warn_of_schedule(cfg)
    open_process(cfg, launcher)
    with end_together():
        keep_freed_memory()
        explicit = (cfg_options or {}).get("load_from") is not None
        seed = settle_resume(cfg, resume, prefer_load_from=explicit or not resume)
        fix_seed(cfg, fallback=seed)
        _name_train_loop(cfg.train_cfg)
        batch_size = batch_size_hook(cfg, auto_scale_lr)
        source = str(cfg.load_from) if cfg.get("load_from") else "the checkpoint"
        with built_from(cfg):
            runner = build_runner(cfg, strict=bool(cfg.get("resume")), source=source)
            if batch_size is not None:
                batch_size.register(runner)
            write_page = prepare_report(runner, report)
            # Left to mmengine, it would compile the whole training step, bookkeeping included, for minutes more.
            of_config = runner.cfg.pop("compile", None)
            compile_parts(runner.model, of_config if compile is False else compile, training=True)
            try:
                runner.train()
            finally:
                wait_for_checkpoints(runner.hooks)
        write_page()
    return runner


def _name_train_loop(train_cfg: Any) -> None:
    """mmengine's runner takes its own loop, not that of the registry, where ``by_epoch`` stands instead of a type."""
    if isinstance(train_cfg, dict) and "type" not in train_cfg and "by_epoch" in train_cfg:
        train_cfg["type"] = "EpochBasedTrainLoop" if train_cfg.pop("by_epoch") else "IterBasedTrainLoop"


def use_amp(cfg: Config) -> None:
    """Turn mixed precision on in a config, and check the hardware for it at once.

    Args:
        cfg: changed in place: ``optim_wrapper`` and ``val_cfg``.

    Raises:
        ConfigError: the optimizer wrapper is one of the user's own, which ``--amp`` cannot replace.
        HardwareError: the hardware lacks it.
    """
    from gcseg.engine.optim_wrapper import amp_dtype
    from gcseg.utils.errors import ConfigError

    require(cfg, ("optim_wrapper",), "training")
    wrapper = cfg.optim_wrapper
    kind = wrapper.get("type", "OptimWrapper")
    if kind not in ("OptimWrapper", "AmpOptimWrapper"):
        raise ConfigError(
            f"--amp replaces optim_wrapper.type='OptimWrapper' by 'AmpOptimWrapper', but the config has {kind!r}; "
            "leave out --amp, or set the precision in that wrapper"
        )
    wrapper["type"] = "AmpOptimWrapper"
    if kind == "OptimWrapper":
        wrapper.setdefault("loss_scale", "dynamic")
    amp_dtype(wrapper.get("dtype"))
    if isinstance(cfg.get("val_cfg"), dict):
        cfg.val_cfg.setdefault("type", "ValLoop")
        if cfg.val_cfg["type"] == "ValLoop":
            cfg.val_cfg["fp16"] = True
            if wrapper.get("dtype") is not None:
                cfg.val_cfg["dtype"] = wrapper["dtype"]


def settle_resume(cfg: Config, resume: bool, prefer_load_from: bool) -> int | None:
    """Decide where to resume from and bring the config into the form mmengine reads.

    Args:
        cfg: changed in place: ``resume`` and ``load_from``.
        resume: the wish of the command line; the config's own wish counts as well.
        prefer_load_from: resume from ``load_from`` although ``work_dir`` has checkpoints.

    Returns:
        The seed of the run that is resumed, None when there is none.
    """
    from mmengine.logging import print_log

    from gcseg.engine.checkpoint import load_checkpoint_file
    from gcseg.engine.resume import prepare_resume

    cfg.resume = bool(resume or cfg.get("resume"))
    if not cfg.resume:
        if (Path(cfg.work_dir) / "last_checkpoint").is_file():
            print_log(
                f"{cfg.work_dir} holds checkpoints of an earlier run; those of the same names will be written over. "
                "resume=True (--resume) goes on from the newest, and another work_dir (--work-dir) keeps them",
                logger="current",
                level=logging.WARNING,
            )
        return None
    if cfg.get("load_from") and prefer_load_from:
        source: Path | str = cfg.load_from
    else:
        newest = prepare_resume(cfg.work_dir)
        if newest is not None:
            if cfg.get("load_from"):
                print_log(f"resume: {newest} takes precedence over load_from={cfg.load_from}", logger="current")
            cfg.load_from = None
            source = newest
        elif cfg.get("load_from"):
            source = cfg.load_from
        else:
            print_log(
                f"resume: no checkpoint in {cfg.work_dir}; training begins at iteration 0",
                logger="current",
                level=logging.WARNING,
            )
            cfg.resume = False
            return None
    seed = load_checkpoint_file(source)["meta"].get("seed")
    return int(seed) if seed is not None else None
