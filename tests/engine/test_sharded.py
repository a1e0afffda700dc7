import re

import pytest
import torch
from mmengine.hooks import EMAHook
from torch import nn

from gcseg.engine.sharded import FSDP2, has_fsdp2, share_in_saving
from gcseg.utils import ConfigError, HardwareError

needs_fsdp2 = pytest.mark.skipif(not has_fsdp2(), reason="this torch has no FSDP2 that can validate")


@needs_fsdp2
def test_before_the_first_step_it_is_the_model():
    model = nn.Linear(3, 2)
    wrapper = FSDP2(model)
    assert wrapper.module is model and not wrapper.sharded
    x = torch.randn(4, 3)
    assert torch.equal(wrapper(x), model(x))
    wrapper.gather(), wrapper.scatter()
    assert type(model.weight) is nn.Parameter


@needs_fsdp2
def test_what_it_cannot_do_is_said():
    class Runner:
        hooks = (EMAHook(),)

    with pytest.raises(ConfigError, match="EMAHook"):
        share_in_saving(Runner())
    with pytest.raises(ConfigError, match="one optimizer"):
        FSDP2(nn.Linear(3, 2)).shard(object())


@needs_fsdp2
def test_a_torch_that_lacks_it_is_named(monkeypatch):
    import torch.distributed.fsdp as fsdp

    class Old:
        """As FSDPModule of torch 2.4."""

    monkeypatch.setattr(fsdp, "FSDPModule", Old)
    with pytest.raises(HardwareError, match=f"newer torch than {re.escape(torch.__version__)}"):
        FSDP2(nn.Linear(3, 2))
