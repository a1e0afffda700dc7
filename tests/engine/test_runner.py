"""What a run shows on the screen, and what in its log file."""

import logging

import pytest
import tiny_run
import torch

from gcseg.apis.train import train
from gcseg.config import load_config

DUMPS = ("System environment:", "train_dataloader = dict(", "Hooks will be executed")


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_long_dumps_are_in_the_log_file_alone(level, tmp_path, capfd):
    cfg = load_config(tiny_run.write(tmp_path))
    cfg.log_level = level
    train(cfg, work_dir=tmp_path / "run", cfg_options={"train_cfg.max_iters": 1})
    shown, warned = capfd.readouterr()
    (file,) = (tmp_path / "run").glob("*/*.log")
    logged = file.read_text(encoding="utf-8")
    assert all(text in logged for text in DUMPS)
    assert all((text in shown + warned) == (level == "DEBUG") for text in DUMPS)
    if level == "INFO":
        assert str(file) in shown and len(shown.splitlines()) < 30
    assert "Iter(train) [1/1]" in shown and "Saving checkpoint" in shown and "mIoU" in shown


def test_two_runs_of_one_second_know_nothing_of_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr("mmengine.runner.runner.time.strftime", lambda *_: "20260101_000000")
    config, runs = tiny_run.write(tmp_path / "data"), []
    for name in "ab":
        runs.append(train(config, tmp_path / name))
        log = (tmp_path / name / "20260101_000000" / "20260101_000000.log").read_text()
        assert log.count("Iter(train) [4/4]") == 1
    scores = [run.message_hub.get_scalar("val/mIoU").data[0].tolist() for run in runs]
    assert scores[0] == scores[1] and len(scores[0]) == 2
    assert all(list((tmp_path / name).glob("best_*.pth")) for name in "ab")
    a, b = (run.model.state_dict() for run in runs)
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_long_tables_of_the_run_itself_are_shown():
    from gcseg.engine.runner import _is_short

    table = "per class results:\n" + "\n".join(f"class {i}  50.0  60.0" for i in range(150))
    assert _is_short(logging.LogRecord("run", logging.INFO, "", 0, table, (), None))
