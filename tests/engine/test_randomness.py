import random

import numpy as np
import pytest
import torch
from mmengine.config import Config

from gcseg.engine.randomness import fix_seed
from gcseg.utils import ConfigError


def draw():
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_a_seed_fixes_all_generators_and_is_written_down():
    cfg = Config({})
    seed = fix_seed(cfg)
    first = draw()
    assert cfg.randomness.seed == seed
    assert fix_seed(cfg) == seed and draw() == first
    assert fix_seed(Config(dict(randomness=dict(seed=seed + 1)))) == seed + 1 and draw() != first


def test_the_resumed_runs_seed_is_taken_only_when_the_config_has_none():
    assert fix_seed(Config({}), fallback=5) == 5
    assert fix_seed(Config(dict(randomness=dict(seed=7))), fallback=5) == 7


def test_deterministic_reaches_torch():
    try:
        fix_seed(Config(dict(randomness=dict(seed=0, deterministic=True))))
        assert torch.are_deterministic_algorithms_enabled() and not torch.backends.cudnn.benchmark
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.deterministic = False


@pytest.mark.parametrize("seed", [-1, 2**32, "1", 1.5])
def test_a_seed_that_is_none(seed):
    with pytest.raises(ConfigError, match="seed"):
        fix_seed(Config(dict(randomness=dict(seed=seed))))
