import logging
import re
import sys
from types import SimpleNamespace

import pytest

from gcseg.engine.hooks import ProgressBarHook


def run(hook, iterations=3, start=1):
    loader = [0] * 2
    runner = SimpleNamespace(
        logger=logging.getLogger("bar"), max_iters=iterations, iter=start, val_dataloader=loader, test_dataloader=loader
    )
    hook.before_run(runner)
    hook.before_train(runner)
    for i in range(start, iterations):
        hook.after_train_iter(runner, i)
    hook.before_val(runner)
    for i in range(2):
        hook.after_val_iter(runner, i)
    hook.after_val(runner)
    hook.after_train(runner)
    hook.before_test(runner)
    for i in range(2):
        hook.after_test_iter(runner, i)
    hook.after_test(runner)
    hook.after_run(runner)


def test_bars_count_from_where_the_run_resumes(capsys):
    run(ProgressBarHook(interactive=True))
    shown = capsys.readouterr().err
    assert re.search(r"train:\s+33%.*1/3", shown) and re.search(r"train: 100%.*3/3", shown)
    assert re.search(r"val: 100%.*2/2", shown) and re.search(r"test: 100%.*2/2", shown)


def test_a_log_file_gets_no_bar(capsys):
    run(ProgressBarHook(interactive=False))
    assert capsys.readouterr().err == ""
    run(ProgressBarHook(train=False, val=False, interactive=True))
    shown = capsys.readouterr().err
    assert "test" in shown and "train" not in shown and "val" not in shown


def test_the_log_finds_its_way_back_after_the_run():
    logger = logging.getLogger("bar")
    handler = logging.StreamHandler()
    logger.addHandler(handler)
    try:
        run(ProgressBarHook(interactive=True))
        assert logger.handlers == [handler]
    finally:
        logger.removeHandler(handler)


def test_the_level_of_the_log_stays_while_there_is_a_bar(capsys):
    logger = logging.getLogger("bar")
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.WARNING)
    logger.addHandler(handler)
    hook = ProgressBarHook(interactive=True)
    try:
        hook.before_run(SimpleNamespace(logger=logger))
        assert logger.handlers != [handler]
        logger.warning("look here")
        logger.error("and here")
        logger.setLevel(logging.INFO)
        logger.info("not here")
        said = capsys.readouterr().err
        assert "look here" in said and "and here" in said and "not here" not in said
    finally:
        hook.close()
        logger.setLevel(logging.NOTSET)
        logger.removeHandler(handler)


@pytest.mark.parametrize("stage", ["train", "val", "test"])
def test_an_interrupted_run_can_be_closed(stage, capsys):
    hook = ProgressBarHook(interactive=True)
    hook._open(stage, 5)
    hook.close()
    assert not hook._bars
