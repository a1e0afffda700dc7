"""The logs of all starts of a run, read as one run."""

import json
import sys
from pathlib import Path

import pytest

from gcseg.analysis import read_log, read_training
from gcseg.utils import ConfigError, DataError

sys.path.insert(0, str(Path(__file__).parent))
import tiny_run as tiny_run_files
from log_files import trained, validated, write_log

NAN, INF = float("nan"), float("inf")
DAY = [f"2026010{day}_100000" for day in range(1, 7)]


def points(curves, key):
    """Of a report: iteration -> value."""
    curve = next(c for c in curves if c.name == key)
    return dict(zip(curve.steps, curve.values, strict=True))


def read(work_dir, *, loss, miou=None, reported=None, resumed=()):
    """Read by both functions and compare with what is expected: step -> value, of losses and of validations.

    ``reported`` is ``miou`` over iterations, where that is another.
    """
    log, training = read_log(work_dir), read_training(work_dir)
    assert dict(log.curves.get("loss", ())) == loss and log.resumed == training.resumed == resumed
    assert dict(log.curves.get("mIoU", ())) == (miou or {})
    if loss:
        assert points(training.losses, "loss") == loss
    assert (points(training.scores, "mIoU") if training.scores else {}) == (reported or miou or {})
    return log, training


def test_a_run_by_iterations(tmp_path):
    write_log(tmp_path / "a run", DAY[0], [trained(50, 3.0), trained(100, 2.0), validated(100, 40.0), trained(150)])
    log, training = read(tmp_path / "a run", loss={50: 3.0, 100: 2.0, 150: 1.0}, miou={100: 40.0})
    assert log.name == "a run" and log.curve("val/time") == [(100, 0.2)] and len(log.curve("time")) == 3
    assert log.validated == {"aAcc", "mIoU", "val/time", "val/data_time"}
    assert log.noisy == {"loss", "decode.loss_ce", "time", "data_time"}
    assert [c.name for c in training.losses] == ["loss", "decode.loss_ce"]
    assert [c.name for c in training.rates] == ["lr"] and [c.name for c in training.scores] == ["aAcc", "mIoU"]
    assert log.summary(["loss"])["loss"] == {
        "count": 3, "last": 1.0, "low": 1.0, "low_step": 150, "high": 3.0, "high_step": 50
    }  # fmt: skip


def test_a_run_that_was_killed_and_resumed(tmp_path):
    """Killed at 170, resumed from 100 and killed at 220, resumed from 200."""
    lines = [trained(50), trained(100), validated(100, 40.0), trained(150), validated(150, 99.0)]
    write_log(tmp_path, DAY[0], lines, end='{"lr": 0.1, "lo')
    write_log(tmp_path, DAY[1], [trained(150, 2.0), validated(150, 50.0), trained(200, 2.0), validated(200, 55.0)])
    write_log(tmp_path, DAY[2], [trained(250, 3.0)])
    found = {50: 1.0, 100: 1.0, 150: 2.0, 200: 2.0, 250: 3.0}
    read(tmp_path, loss=found, miou={100: 40.0, 150: 50.0, 200: 55.0}, resumed=(150, 250))


def test_a_validation_that_is_made_up_for_counts(tmp_path):
    """gcseg's loop repeats the validation of the checkpoint from which it goes on, before its first iteration."""
    write_log(tmp_path, DAY[0], [trained(50), trained(100), validated(100, 40.0), trained(150), validated(150, 99.0)])
    write_log(tmp_path, DAY[1], [validated(100, 41.0)])  # died before a line of training
    read(tmp_path, loss={50: 1.0, 100: 1.0, 150: 1.0}, miou={100: 41.0, 150: 99.0})
    write_log(tmp_path, DAY[2], [validated(100, 42.0), trained(150, 2.0)])
    read(tmp_path, loss={50: 1.0, 100: 1.0, 150: 2.0}, miou={100: 42.0}, resumed=(150,))


def test_a_start_that_logged_nothing_changes_nothing(tmp_path):
    write_log(tmp_path, DAY[0], [trained(50), validated(50, 40.0)])
    write_log(tmp_path, DAY[1], [], end='{"lr"')
    read(tmp_path, loss={50: 1.0}, miou={50: 40.0})


def test_a_start_from_the_beginning_replaces_everything(tmp_path):
    write_log(tmp_path, DAY[0], [trained(50), trained(100), validated(100, 40.0)])
    write_log(tmp_path, DAY[1], [validated(100, 41.0)])
    write_log(tmp_path, DAY[2], [trained(150)])
    write_log(tmp_path, DAY[3], [trained(50, 5.0)])
    read(tmp_path, loss={50: 5.0})


def test_epochs(tmp_path):
    """Seven iterations an epoch, each third logged; validations are counted in epochs, 1 after iteration 7."""
    first = [trained(3, epoch=1), trained(6, epoch=1), validated(1, 10.0), trained(10, epoch=2), trained(13, epoch=2)]
    write_log(tmp_path, DAY[0], [*first, validated(2, 20.0), trained(17, epoch=3)])
    read(tmp_path, loss=dict.fromkeys((3, 6, 10, 13, 17), 1.0), miou={1: 10.0, 2: 20.0}, reported={6: 10.0, 13: 20.0})
    write_log(tmp_path, DAY[1], [trained(10, 2.0, epoch=2)])  # from the end of the first epoch; killed
    read(tmp_path, loss={3: 1.0, 6: 1.0, 10: 2.0}, miou={1: 10.0}, reported={6: 10.0}, resumed=(10,))
    write_log(tmp_path, DAY[2], [trained(10, 3.0, epoch=2), trained(13, 3.0, epoch=2), validated(2, 30.0)])
    found = {3: 1.0, 6: 1.0, 10: 3.0, 13: 3.0}
    read(tmp_path, loss=found, miou={1: 10.0, 2: 30.0}, reported={6: 10.0, 13: 30.0}, resumed=(10,))
    write_log(tmp_path, DAY[3], [trained(3, 4.0, epoch=1)])
    read(tmp_path, loss={3: 4.0})


def test_what_a_training_is_logged_by_does_not_say_what_its_validations_are_counted_in(tmp_path):
    """LogProcessor(by_epoch=...) and LoggerHook(log_metric_by_epoch=...) are independent."""
    epochs = [trained(3, epoch=1), trained(6, epoch=1), validated(7, 10.0), trained(10, epoch=2), validated(14, 20.0)]
    write_log(tmp_path / "a", DAY[0], epochs)
    write_log(tmp_path / "a", DAY[1], [trained(10, 2.0, epoch=2)])
    read(tmp_path / "a", loss={3: 1.0, 6: 1.0, 10: 2.0}, miou={7: 10.0}, resumed=(10,))
    lines = [trained(3), trained(6), validated(1, 10.0), trained(10), validated(2, 20.0)]
    write_log(tmp_path / "b", DAY[0], lines)
    write_log(tmp_path / "b", DAY[1], [trained(10, 2.0)])
    read(tmp_path / "b", loss={3: 1.0, 6: 1.0, 10: 2.0}, miou={1: 10.0}, reported={6: 10.0}, resumed=(10,))


def test_validations_that_mmengine_does_not_count_stand_at_the_iteration_before_them(tmp_path):
    """LoggerHook() in a training by iterations writes step 0 for each of them."""
    write_log(tmp_path, DAY[0], [trained(50), validated(0, 10.0), trained(100), validated(0, 20.0)])
    write_log(tmp_path, DAY[1], [trained(100), trained(150), validated(0, 30.0)])
    read(tmp_path, loss={50: 1.0, 100: 1.0, 150: 1.0}, miou={50: 10.0, 150: 30.0}, resumed=(100,))


def test_validations_alone(tmp_path):
    """Runner.val() trains nothing and counts nothing; the last one counts, and none beside a training."""
    for day, score in ((0, 10.0), (1, 20.0)):
        write_log(tmp_path, DAY[day], [validated(0, score)])
    log, _ = read(tmp_path, loss={}, miou={0: 20.0})
    assert set(log.curves) == {"aAcc", "mIoU", "val/time", "val/data_time"} and log.noisy == frozenset()
    write_log(tmp_path, DAY[2], [trained(50), validated(50, 30.0)])
    write_log(tmp_path, DAY[3], [validated(0, 40.0)])
    read(tmp_path, loss={50: 1.0}, miou={50: 30.0})


def test_losses_that_are_not_finite(tmp_path):
    file = write_log(tmp_path, DAY[0], [trained(20), trained(40, NAN), trained(60, INF), trained(80, -INF)])
    assert '"loss": NaN' in file.read_text() and '"loss": Infinity' in file.read_text()
    log, training = read_log(tmp_path), read_training(tmp_path)
    assert [str(value) for _, value in log.curve("loss")] == ["1.0", "nan", "inf", "-inf"]
    assert points(training.losses, "loss") == {20: 1.0, 40: None, 60: None, 80: None}
    assert training.not_finite == (40, 60, 80) and log.summary()["loss"]["high"] == 1.0


@pytest.mark.filterwarnings("error")
def test_damaged_lines_are_left_out(tmp_path):
    file = write_log(tmp_path, DAY[0], [trained(20), trained(40)], end='{"lr": 0.1, "lo')
    read(tmp_path, loss={20: 1.0, 40: 1.0})
    file.write_bytes(file.read_bytes() + b'{"step": 60}\n\xff\n[1]\n{"a": 1}\n' + json.dumps(trained(80)).encode())
    with pytest.warns(UserWarning, match=r"scalars\.json: 2 damaged lines are left out, the first is line 3$"):
        read_log(tmp_path)
    with pytest.warns(UserWarning):
        read(tmp_path, loss={20: 1.0, 40: 1.0, 80: 1.0})


def test_what_both_log_is_told_apart(tmp_path):
    """mmengine's ValLoop logs losses under their names; LogProcessor(log_with_hierarchy=True) adds train/ and val/."""
    lines = [trained(20, 3.0), validated(20, 40.0, **{"decode.loss_ce": 5.0, "val_loss": 6.0})]
    write_log(tmp_path / "a", DAY[0], lines)
    counters = ("iter", "step")
    named = [
        {(k if k in counters else f"{kind}/{k}"): v for k, v in line.items()}
        for kind, line in zip(("train", "val"), lines, strict=True)
    ]
    write_log(tmp_path / "b", DAY[0], named)
    for name in "ab":
        log, training = read(tmp_path / name, loss={20: 3.0}, miou={20: 40.0})
        assert log.curve("decode.loss_ce") == [(20, 3.0)] and log.curve("val/decode.loss_ce") == [(20, 5.0)]
        assert [c.name for c in training.losses] == ["loss", "decode.loss_ce", "val/decode.loss_ce", "val_loss"]


def test_a_run_is_found_by_its_folder_a_start_or_a_file(tmp_path, monkeypatch):
    file = write_log(tmp_path / "runs" / "a", DAY[0], [trained(20)])
    write_log(tmp_path / "runs" / "a", DAY[1], [trained(40)])
    write_log(tmp_path / "runs" / "b", DAY[0], [trained(60)])
    for path, name, steps in (
        (file, "a", [20]),
        (file.parent, "vis_data", [20]),
        (file.parents[1], DAY[0], [20]),
        (file.parents[2], "a", [20, 40]),
    ):
        log = read_log(path)
        assert log.name == name and [step for step, _ in log.curve("loss")] == steps
    monkeypatch.chdir(file.parents[2])
    assert read_log(".").name == "a" and read_log(".", "mine").name == "mine"
    with pytest.raises(DataError, match="runs: no scalars.json there, but there are runs in it: a, b; give one"):
        read_log(tmp_path / "runs")
    with pytest.raises(DataError, match=r"nothing: no scalars\.json there; give the work_dir"):
        read_log(tmp_path / "nothing")
    assert read_training(tmp_path / "runs") is read_training(tmp_path / "nothing") is None


def test_what_is_no_log_is_named(tmp_path):
    write_log(tmp_path, DAY[0], [trained(20)])
    with pytest.raises(ConfigError, match="key in the log of run .*: 'losss'.*Did you mean 'loss'"):
        read_log(tmp_path).curve("losss")
    file = write_log(tmp_path / "empty", DAY[0], [], end='{"lr')
    for path in (file, tmp_path / "empty"):
        with pytest.raises(DataError, match="nothing is logged in it"):
            read_log(path)
    assert read_training(tmp_path / "empty") is None


def train_tiny(tmp_path, start, **options):
    """A real training of the tiny model, as if it had begun at ``start``: two may begin in one second; the work dir."""
    from gcseg.apis.train import train

    config = tmp_path / "data" / "tiny.py"
    if not config.is_file():
        tiny_run_files.write(config.parent)
    train(config, work_dir=tmp_path / "run", cfg_options=options)
    (log,) = (folder for folder in (tmp_path / "run").iterdir() if folder.is_dir() and folder.name not in DAY)
    log.rename(tmp_path / "run" / start)
    return tmp_path / "run"


def test_real_runs_are_logged_as_these_tests_have_it(tmp_path):
    """Iterations with gradient accumulation, then epochs (of three iterations), then from the beginning again."""
    options = {"train_cfg.max_iters": 6, "train_cfg.val_interval": 4, "param_scheduler.0.end": 6}
    options |= {"default_hooks.logger.interval": 2, "optim_wrapper.accumulative_counts": 3}
    log = read_log(train_tiny(tmp_path, DAY[0], **options))
    assert [step for step, _ in log.curve("loss")] == [2, 4, 6] and [step for step, _ in log.curve("mIoU")] == [4, 6]
    assert log.resumed == () and log.iterations == {4: 4, 6: 6}
    options = {
        "train_cfg": dict(_delete_=True, type="EpochBasedTrainLoop", max_epochs=2),
        "train_dataloader.sampler.type": "DefaultSampler",
        "default_hooks.logger": dict(interval=2, log_metric_by_epoch=True),
        "log_processor.by_epoch": True,
    }
    log = read_log(train_tiny(tmp_path, DAY[1], **options))
    assert [step for step, _ in log.curve("loss")] == [2, 5] and [step for step, _ in log.curve("mIoU")] == [1, 2]
    assert log.resumed == () and log.iterations == {1: 2, 2: 5}
