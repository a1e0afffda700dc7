import logging
import types

import pytest
from mmengine.hooks import LoggerHook as MmengineHook

from gcseg.engine.hooks import LoggerHook
from gcseg.registry import HOOKS


def test_it_takes_the_place_of_mmengines_under_the_same_name():
    assert HOOKS.get("LoggerHook") is LoggerHook and issubclass(LoggerHook, MmengineHook)


def test_numbers_that_cannot_be_written_are_reported_once_and_missed(tmp_path):
    said, written, full = [], [], [False, True, True, False]
    logger = logging.Logger("run")
    logger.addHandler(handler := logging.Handler())
    handler.emit = lambda record: said.append((record.levelname, record.getMessage()))

    def add_scalars(tag, step, file_path):
        if full[step - 1]:
            raise OSError(28, "No space left on device")
        written.append(step)

    processor = types.SimpleNamespace(get_log_after_iter=lambda *_: ({}, "loss: 1"))
    run = types.SimpleNamespace(
        iter=0, logger=logger, log_dir=tmp_path, timestamp="now", experiment_name="x", log_processor=processor,
        visualizer=types.SimpleNamespace(add_scalars=add_scalars), train_dataloader=range(100),
    )  # fmt: skip
    hook = LoggerHook(interval=1)
    hook.before_run(run)
    for run.iter in range(4):
        hook.after_train_iter(run, run.iter)
    assert written == [1, 4] and said.count(("INFO", "loss: 1")) == 4
    (warning,) = (text for level, text in said if level == "WARNING")
    assert "iteration 1 and some of the next" in warning and "No space left on device" in warning
    processor.get_log_after_iter = lambda *_: {}["no such key"]
    with pytest.raises(KeyError):
        hook.after_train_iter(run, 0)
