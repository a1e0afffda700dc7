"""A run that stands still: who is told where, when, and that a real one leaves the stacks of its processes."""

import sys
import time

import pytest
import tiny_run
import torch
from several_processes import run_ranks

import gcseg.engine.registered
import gcseg.evaluation.metrics
import gcseg.models.segmentors
import gcseg.visualization.local_visualizer  # noqa: F401  (loaded once, before the forks)
from gcseg.apis.train import train
from gcseg.datasets import BaseSegDataset
from gcseg.engine.standstill import PATIENCE, Standstill
from gcseg.engine.watch import current_standstill


@pytest.fixture
def three(tmp_path):
    store = torch.distributed.HashStore()
    found = [Standstill(store, rank, 3) for rank in range(3)]
    for each in found:
        each.folder = tmp_path / "logs"
    return found


def look(processes, begin, seconds):
    for now in range(begin, begin + seconds, 2):
        for each in processes:
            each.look(now)


def test_who_is_where_is_told_after_a_minute(three, capfd, tmp_path):
    for each in three:
        each.note("in train iteration 3")
    three[1].note("after train iteration 2")
    look(three, 100, int(PATIENCE) + 1)
    assert capfd.readouterr().err == "" and not (tmp_path / "logs").exists()
    look(three, 162, 4)
    (said,) = capfd.readouterr().err.splitlines()
    assert "rank 0 has not moved for 62 s. rank 0, 2: in train iteration 3; rank 1: after train iteration 2." in said
    assert str(tmp_path / "logs") in said
    assert {f.name for f in (tmp_path / "logs").iterdir()} == {f"stack_rank{r}.txt" for r in range(3)}
    assert all("test_standstill.py" in f.read_text() for f in (tmp_path / "logs").iterdir())


def test_it_is_told_again_at_twice_the_time_and_anew_after_a_move(three, capfd):
    three[1].note("after train iteration 2")
    look(three, 0, 500)
    assert [line.split(" s.")[0].rsplit(" ", 1)[1] for line in capfd.readouterr().err.splitlines()] == [
        *("62", "122", "242", "482")
    ]
    three[0].note("in train iteration 4")
    look(three, 500, 64)
    assert "for 62 s. rank 0: in train iteration 4; rank 1: after" in capfd.readouterr().err


def test_where_all_are_in_one_place_nobody_waits_for_another(three, capfd):
    for each in three:
        each.note("in train iteration 1")  # a compilation takes minutes
    look(three, 0, 1000)
    assert capfd.readouterr().err == ""


def test_who_moves_is_left_alone(three, capfd):
    for iteration in range(50):
        three[0].note(f"in train iteration {iteration}")
        look(three, 10 * iteration, 10)
    assert capfd.readouterr().err == ""


def test_a_folder_that_cannot_be_written_to_is_told(three, capfd, tmp_path):
    (tmp_path / "logs").write_text("a file")
    three[1].note("elsewhere")
    look(three, 0, 64)
    assert "rank 1 cannot write its stack" in capfd.readouterr().err


PLACES = "rank 0: in train iteration 2; rank 1: after train iteration 1, in a hook or waiting for data"


def train_with_a_stuck_rank(rank, config, folder):
    """Rank 1 does not get its second batch before that is told and its stack is written; on a slow machine they are
    told of other things before.
    """
    sys.stderr = open(folder.with_name(f"said_by_{rank}.txt"), "w")  # noqa: SIM115
    get, seen = BaseSegDataset.__getitem__, []

    def wait_here(dataset, index):
        seen.append(index)
        current_standstill()._patience = current_standstill()._wait = 1
        while rank == 1 and len(seen) == 3 and not is_told():
            time.sleep(0.1)
        return get(dataset, index)

    def is_told():
        stacks = [f.read_text() for f in folder.glob("*/stack_rank1.txt")]
        said = folder.with_name("said_by_0.txt").read_text()
        return PLACES in said and any("wait_here" in stack for stack in stacks)

    BaseSegDataset.__getitem__ = wait_here
    train(config, folder, launcher="pytorch", cfg_options={"train_dataloader.num_workers": 0})
    sys.stderr.flush()


@pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")
def test_a_training_that_stands_still_says_who_waits_for_whom(tmp_path, monkeypatch):
    monkeypatch.setattr("mmengine.runner.runner.collect_env", dict)  # asks compilers for their versions, for seconds
    run_ranks(train_with_a_stuck_rank, 2, tiny_run.write(tmp_path / "data"), tmp_path / "run")
    assert PLACES in (tmp_path / "said_by_0.txt").read_text()
    assert "rank 0 has not moved" not in (tmp_path / "said_by_1.txt").read_text()
    assert list((tmp_path / "run").glob("*/stack_rank1.txt"))
