"""The number of images that one step of the optimizer sees, and the learning rate that goes with it."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.hooks import Hook
from mmengine.logging import print_log

from gcseg.utils.errors import ConfigError

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner

# gcnet_r50-d8_4xb2-40k_cityscapes-512x1024: 4 processes with 2 images each.
_IN_NAME = re.compile(r"(?:^|[_-])(\d+)xb(\d+)(?=[_-]|$)")
_RECORD = "images_per_step"


@dataclass(frozen=True)
class BatchSize:
    """What the images of one step are made of."""

    processes: int
    per_process: int
    accumulated: int = 1

    @property
    def images(self) -> int:
        """Images of one step of the optimizer."""
        return self.processes * self.per_process * self.accumulated

    def __str__(self) -> str:
        parts = [_count(self.processes, "process", "processes"), _count(self.per_process, "image")]
        if self.accumulated > 1:
            parts.append(_count(self.accumulated, "accumulated iteration"))
        return f"{_count(self.images, 'image')} ({' x '.join(parts)})"


def _count(number: int, noun: str, plural: str | None = None) -> str:
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def batch_size_of(cfg: Config, processes: int) -> BatchSize | None:
    """The batch size of a training; None where a ``batch_sampler`` of the user's decides on it."""
    per_process = cfg.train_dataloader.get("batch_size")
    if per_process is None:
        return None
    return BatchSize(processes, int(per_process), int(cfg.optim_wrapper.get("accumulative_counts", 1)))


def recipe_images(cfg: Config) -> tuple[int, str] | None:
    """The batch size that the learning rate of a config is meant for, and where that is said.

    ``auto_scale_lr.base_batch_size`` says it, or else the file's name: ``4xb2`` is 8. None when neither does.
    """
    base = (cfg.get("auto_scale_lr") or {}).get("base_batch_size")
    if base is not None:
        return int(base), "auto_scale_lr.base_batch_size"
    found = _IN_NAME.search(Path(cfg.filename).stem) if cfg.filename else None
    return (int(found[1]) * int(found[2]), f"{found[0].lstrip('_-')} in its name") if found else None


class BatchSizeHook(Hook):
    """Compare a run's batch size with that of its recipe, scale the learning rate, and notice a change on resume.

    Args:
        size: of this run.
        recipe: from :func:`recipe_images`.
        scale: multiply the learning rate by the quotient.
    """

    def __init__(self, size: BatchSize, recipe: tuple[int, str] | None, scale: bool) -> None:
        self.size, self.recipe, self.scale = size, recipe, scale

    def register(self, runner: Runner) -> None:
        """Add this hook to a runner that has not built its optimizer yet, and say what there is to say."""
        runner.register_hook(self)
        if self.scale and self.recipe is not None:
            # mmengine divides its own count, which leaves accumulation out.
            base = self.recipe[0] / self.size.accumulated
            runner.auto_scale_lr = dict(enable=True, base_batch_size=base)
        text = self.message()
        if text is not None:
            print_log(text, logger="current", level=logging.INFO if self.scale else logging.WARNING)

    def message(self) -> str | None:
        """One sentence or two when the batch size is not the recipe's."""
        if self.recipe is None or self.size.images == self.recipe[0]:
            return None
        base, where = self.recipe
        text = f"one step sees {self.size}, while the learning rate of the config is for {base} ({where})"
        factor = f"{self.size.images / base:.4g}"
        if self.scale:
            return f"{text}: the learning rate is multiplied by {factor}"
        size = self.size
        ways = [
            f"{option}={base // other}" if "{}" not in option else option.format(base // other)
            for option, other in (
                ("{} processes", size.per_process * size.accumulated),
                ("train_dataloader.batch_size", size.processes * size.accumulated),
                ("optim_wrapper.accumulative_counts", size.processes * size.per_process),
            )
            if base % other == 0
        ]
        ways.append(f"--auto-scale-lr, which multiplies the learning rate by {factor}")
        return f"{text}. Results will differ from the recipe's. What helps: {'; '.join(ways)}"

    def before_train(self, runner: Any) -> None:
        """Compare with the run that is resumed, and leave a note for the next one."""
        before = runner.message_hub.get_info(_RECORD)
        if before is not None and before != self.size.images:
            print_log(
                f"resume: one step sees {self.size}; before, it saw {_count(before, 'image')}. The learning rate goes "
                "on as it was in the checkpoint, whatever --auto-scale-lr says",
                logger="current",
                level=logging.WARNING,
            )
        runner.message_hub.update_info(_RECORD, self.size.images)


def batch_size_hook(cfg: Config, scale: bool) -> BatchSizeHook | None:
    """The hook for a training, None where its batch size is not known.

    Args:
        cfg: ``auto_scale_lr.enable`` counts like ``scale``.
        scale: ``--auto-scale-lr``.

    Raises:
        ConfigError: scaling is wanted, but nothing says what the learning rate is meant for.
    """
    from mmengine.dist import get_world_size

    scale = scale or bool((cfg.get("auto_scale_lr") or {}).get("enable"))
    size, recipe = batch_size_of(cfg, get_world_size()), recipe_images(cfg)
    if scale and (size is None or recipe is None):
        absent = "train_dataloader.batch_size is not set" if size is None else "nothing says which batch size that is"
        raise ConfigError(
            f"--auto-scale-lr multiplies the learning rate by this run's batch size over the recipe's, but {absent}; "
            "set auto_scale_lr=dict(base_batch_size=8), or put 4xb2 (4 processes x 2 images) into the name of the "
            "config file"
        )
    return None if size is None else BatchSizeHook(size, recipe, scale)
