"""The seed is fixed before anything random happens, and written down."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gcseg.utils.errors import ConfigError

if TYPE_CHECKING:
    from mmengine.config import Config


def fix_seed(cfg: Config, fallback: int | None = None) -> int:
    """Put a definite seed into ``cfg.randomness`` and seed every generator with it.

    Call it after the processes have found each other and before the runner is built: the model's first values then
    depend on the seed whoever builds it, and the checkpoint can record it.

    Args:
        cfg: ``cfg.randomness`` may have ``seed``, ``deterministic``, ``diff_rank_seed``; changed in place.
        fallback: used when the config has no seed, such as that of the run that is resumed; None draws one.

    Returns:
        The seed, the same on all ranks.

    Raises:
        ConfigError: the seed is not a whole number below 2**32.
    """
    from mmengine.dist import sync_random_seed
    from mmengine.runner import set_random_seed

    if cfg.get("randomness") is None:
        cfg.randomness = {}
    randomness = cfg.randomness
    seed = randomness.get("seed")
    if seed is None:
        seed = fallback
    if seed is None:
        seed = int(sync_random_seed())
    if not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise ConfigError(f"randomness.seed={seed!r}: a whole number from 0 to 2**32 - 1 is expected")
    randomness["seed"] = seed
    deterministic = bool(randomness.get("deterministic", False))
    if deterministic:
        # cuBLAS reads it when its first handle is made; torch refuses to be deterministic without it.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    set_random_seed(seed, deterministic=deterministic, diff_rank_seed=bool(randomness.get("diff_rank_seed", False)))
    return seed
