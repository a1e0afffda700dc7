"""What is random inside a training step depends on the seed and the iteration."""

# ruff: noqa: NPY002  (the transforms draw from the global numpy stream)

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook

from gcseg.registry import HOOKS

_DOMAIN = 1  # sets these streams apart from those of the augmentation, which begin with the seed as well


@HOOKS.register_module()
class IterationSeedHook(Hook):
    """Seed the generators before every iteration as a function of (seed, iteration, rank): dropout and all the rest.

    So it does not matter to an iteration what came before it: a validation, or another process that was killed.
    """

    priority = "VERY_HIGH"

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Seed the generators of Python, NumPy, torch and the GPUs."""
        words = np.random.SeedSequence([runner.seed, runner.iter, get_rank(), _DOMAIN]).generate_state(4)
        random.seed(words[:2].tobytes())
        np.random.seed(words)
        torch.manual_seed(int(words[2]) << 32 | int(words[3]))
