import types

import pytest
import torch
from mmengine.hooks import CheckpointHook, LoggerHook
from mmengine.hooks import RuntimeInfoHook as MmengineHook
from mmengine.logging import MessageHub
from torch.utils._python_dispatch import TorchDispatchMode

from gcseg.engine.hooks import RuntimeInfoHook
from gcseg.registry import HOOKS


class Reads(TorchDispatchMode):
    """Counts how often the host asks for a number, which a GPU would be waited for."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def runner(name, hooks=(), iters=40):
    hub = MessageHub.get_instance(f"runtime_info_{name}")
    return types.SimpleNamespace(
        hooks=list(hooks), iter=0, max_iters=iters, message_hub=hub, train_dataloader=range(iters), epoch=0,
        train_loop=types.SimpleNamespace(max_iters=iters),
    )  # fmt: skip


def drive(hook, run, start, stop):
    for i in range(start, stop):
        run.iter = i
        hook.after_train_iter(run, i, outputs=dict(loss=torch.tensor(i / 7), acc=torch.tensor([float(i)]), plain=0.5))


def history(run, key):
    return run.message_hub.log_scalars[f"train/{key}"].data[0].tolist()


def test_it_takes_the_place_of_mmengines_under_the_same_name():
    assert HOOKS.get("RuntimeInfoHook") is RuntimeInfoHook and issubclass(RuntimeInfoHook, MmengineHook)


def test_the_history_is_mmengines():
    ours, theirs = runner("ours", [LoggerHook(interval=10)]), runner("theirs")
    drive(RuntimeInfoHook(), ours, 0, 40)
    drive(MmengineHook(), theirs, 0, 40)
    for key in ("loss", "acc", "plain"):
        assert history(ours, key) == history(theirs, key) and len(history(ours, key)) == 40


def test_nothing_is_read_between_two_logs():
    run, hook = runner("between", [LoggerHook(interval=10)]), RuntimeInfoHook()
    with Reads() as reads:
        drive(hook, run, 0, 9)
    assert reads.count == 0 and "train/loss" not in run.message_hub.log_scalars
    drive(hook, run, 9, 10)
    assert len(history(run, "loss")) == 10


def test_a_checkpoint_and_a_validation_find_everything():
    run, hook = runner("checkpoint", [LoggerHook(interval=30), CheckpointHook(interval=5)]), RuntimeInfoHook()
    drive(hook, run, 0, 5)
    assert len(history(run, "loss")) == 5
    drive(hook, run, 5, 8)
    run.message_hub.update_info("loop_stage", "train")
    hook.before_val(run)
    assert len(history(run, "loss")) == 8


def test_old_iterations_are_forgotten():
    run = runner("forget", [LoggerHook(interval=10)], iters=100)
    drive(RuntimeInfoHook(max_history=20), run, 0, 95)
    kept = history(run, "acc")
    assert 20 <= len(kept) <= 50 and kept == list(range(90 - len(kept), 90))
    with pytest.raises(ValueError, match="max_history=0"):
        RuntimeInfoHook(max_history=0)
