"""What a resumed run does otherwise than its config says."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log

from gcseg.registry import HOOKS

_IGNORED = {"type", "by_epoch", "convert_to_iter_based", "verbose", "param_name", "last_step"}


@HOOKS.register_module()
class ResumeReportHook(Hook):
    """Name the parts of a schedule that come from the checkpoint and not from the config.

    A schedule goes on as it was begun, whatever the config says by now: mmengine restores all its numbers. Where they
    differ from the config's, as after a change of ``max_iters`` and of the schedule's end, a warning says so.
    """

    priority = "LOW"

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Compare, when the checkpoint is one to resume from."""
        states = checkpoint.get("param_schedulers")
        if not getattr(runner, "_resume", False) or not isinstance(states, list):
            return
        configs = runner.cfg.get("param_scheduler") or []
        configs = [configs] if isinstance(configs, Mapping) else configs
        differences = [
            f"{config.get('type')}.{key} is {state[key]} (config: {config[key]})"
            for config, state in zip(configs, states, strict=False)
            for key in config
            if key not in _IGNORED and key in state and state[key] != config[key]
        ]
        if len(configs) != len(states):
            differences.append(f"{len(states)} schedulers in the checkpoint, {len(configs)} in the config")
        before = checkpoint.get("message_hub", {}).get("runtime_info", {}).get("max_iters")
        if before is not None and before != runner.max_iters:
            differences.append(f"max_iters was {before} and is {runner.max_iters}")
        if differences:
            print_log(
                "resume: the horizon of the run has changed; the learning rate goes on as it was begun: "
                f"{'; '.join(differences)}. For a schedule from its beginning use load_from without resume",
                logger="current",
                level=logging.WARNING,
            )
