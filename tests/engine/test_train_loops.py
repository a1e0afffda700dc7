import multiprocessing
import os
import re
import signal
import time

import pytest
import torch
from tiny_run import write

from gcseg.apis.train import train
from gcseg.datasets import BaseSegDataset
from gcseg.models import GCHead
from gcseg.utils.errors import ConfigError, DataError, TrainingError

NO_VALIDATION = {"train_cfg.val_interval": 100, "val_dataloader": None, "val_evaluator": None, "val_cfg": None}


@pytest.fixture
def run(tmp_path):
    from mmengine.logging import MMLogger

    config = write(tmp_path / "data")

    def run(resume=False, **options):
        MMLogger._instance_dict.clear()
        return train(str(config), work_dir=str(tmp_path / "work"), resume=resume, cfg_options=options)

    run.folder = tmp_path / "work"
    return run


@pytest.fixture
def bad_losses(monkeypatch):
    """Makes the losses of the given calls NaN; what the weights were before each call."""

    def make(calls):
        seen, plain = [], GCHead.loss_by_feat

        def loss_by_feat(self, *args):
            losses = plain(self, *args)
            seen.append([p.detach().clone() for p in self.parameters()])
            if len(seen) in calls:
                losses["loss_ce"] = losses["loss_ce"] * float("nan")
            return losses

        monkeypatch.setattr(GCHead, "loss_by_feat", loss_by_feat)
        return seen

    return make


def test_a_loss_that_is_not_finite_ends_the_run_and_is_named(run, bad_losses):
    seen = bad_losses({3})
    with pytest.raises(TrainingError) as error:
        run(**NO_VALIDATION)
    assert len(seen) == 3
    for part in ("iteration 3 ", "decode.loss_ce=nan", "non_finite='skip'"):
        assert part in str(error.value)
    assert len(re.findall(r"img/p\d\.jpg", str(error.value))) == 2  # the images of the batch


def test_a_loss_that_is_not_finite_can_be_passed_over(run, bad_losses):
    seen = bad_losses({2, 3})
    runner = run(**NO_VALIDATION, **{"train_cfg.non_finite": "skip", "train_cfg.max_skipped": 2})
    assert runner.iter == 4
    assert all(torch.equal(a, b) for a, b in zip(seen[1], seen[3], strict=True))  # two steps that were none
    after = list(runner.model.decode_head.parameters())
    assert not all(torch.equal(a, b) for a, b in zip(seen[3], after, strict=True))
    assert all(p.isfinite().all() for p in runner.model.parameters())


def test_not_for_ever(run, bad_losses):
    bad_losses({1, 2, 3, 4})
    with pytest.raises(TrainingError, match=r"iteration 3 .*3 in a row"):
        run(**NO_VALIDATION, **{"train_cfg.non_finite": "skip", "train_cfg.max_skipped": 2})


def test_unknown_ways_are_refused(run):
    with pytest.raises(ConfigError, match=r"non_finite='pass'.*'stop' or 'skip'"):
        run(**{"train_cfg.non_finite": "pass"})


def test_a_validation_that_was_due_is_made_up_for_once(run, monkeypatch):
    from gcseg.engine.loops import ValLoop

    plain, validated = ValLoop.run, []

    def killed(self):
        raise KeyboardInterrupt

    def counted(self):
        validated.append(self.runner.iter)
        return plain(self)

    options = {"default_hooks.checkpoint.interval": 2}
    monkeypatch.setattr(ValLoop, "run", killed)
    with pytest.raises(KeyboardInterrupt):
        run(**options)
    assert sorted(f.name for f in run.folder.glob("iter*")) == ["iter_2.pth"]
    monkeypatch.setattr(ValLoop, "run", counted)
    run(resume=True, **options)
    assert validated == [2, 4]
    saved = torch.load(run.folder / "iter_4.pth", weights_only=False)["message_hub"]["runtime_info"]
    validated.clear()
    run(resume=True, **options)
    assert validated == ([] if saved["last_validated"] == 4 else [4])


def test_a_changed_horizon_is_reported(run, capfd):
    run(**NO_VALIDATION)
    assert "horizon of the run" not in "".join(capfd.readouterr())
    run(resume=True, **NO_VALIDATION)
    assert "horizon of the run" not in "".join(capfd.readouterr())
    run(resume=True, **NO_VALIDATION, **{"train_cfg.max_iters": 6, "param_scheduler.0.end": 6})
    log = "".join(capfd.readouterr())
    assert "PolyLR.end is 4 (config: 6)" in log
    assert "max_iters was 4 and is 6" in log


@pytest.mark.parametrize("kind", ["InfiniteSampler", "DefaultSampler"])
def test_the_stream_goes_on_where_it_was(run, monkeypatch, kind):
    seen, plain = [], BaseSegDataset.__getitem__
    monkeypatch.setattr(BaseSegDataset, "__getitem__", lambda self, i: (seen.append(i), plain(self, i))[1])
    sampler = {"train_dataloader.sampler.type": kind, "default_hooks.checkpoint.interval": 4}
    run(**NO_VALIDATION, **sampler, **{"train_cfg.max_iters": 8})
    whole = list(seen)
    assert len(whole) == 16
    seen.clear()
    for file in run.folder.glob("iter_8*"):
        file.unlink()
    run(resume=True, **NO_VALIDATION, **sampler, **{"train_cfg.max_iters": 8})
    assert seen == whole[8:]  # none was loaded to be passed over


def test_a_loading_process_that_dies_is_reported(run, monkeypatch):
    monkeypatch.setattr(BaseSegDataset, "__getitem__", lambda self, i: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(DataError, match=r"loading process died.*memory"):
        run(**NO_VALIDATION, **{"train_dataloader.num_workers": 1})


def test_a_loading_process_that_dies_during_a_step_is_reported(run, monkeypatch):
    plain, others = GCHead.loss_by_feat, {*multiprocessing.active_children()}

    def loss_by_feat(self, *args):
        (worker,) = {*multiprocessing.active_children()} - others
        os.kill(worker.pid, signal.SIGKILL)
        os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)  # left for torch's watch to find
        return plain(self, *args)

    monkeypatch.setattr(GCHead, "loss_by_feat", loss_by_feat)
    with pytest.raises(DataError, match=r"loading process died.*: Killed\. Killed by the system.*memory"):
        run(**NO_VALIDATION, **{"train_dataloader.num_workers": 1})


def test_a_loading_process_that_is_stuck_is_reported(run, monkeypatch):
    monkeypatch.setattr(BaseSegDataset, "__getitem__", lambda self, i: time.sleep(300))
    with pytest.raises(DataError, match=r"within 1 s.*stuck"):
        run(**NO_VALIDATION, **{"train_dataloader.num_workers": 1, "train_dataloader.timeout": 1})


def test_checkpoints_between_accumulated_gradients_are_warned_of(run, capfd):
    run(**NO_VALIDATION, **{"optim_wrapper.accumulative_counts": 2, "default_hooks.checkpoint.interval": 2})
    assert "fall between" not in "".join(capfd.readouterr())
    run(**NO_VALIDATION, **{"optim_wrapper.accumulative_counts": 2, "default_hooks.checkpoint.interval": 3})
    assert "checkpoints every 3 iterations fall between the 2 " in "".join(capfd.readouterr())


def test_a_stop_waits_for_the_step_that_accumulated_gradients_make(run, monkeypatch):
    plain = GCHead.loss_by_feat

    def loss_by_feat(self, *args):
        os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, *args)

    monkeypatch.setattr(GCHead, "loss_by_feat", loss_by_feat)
    with pytest.raises(SystemExit):
        run(**NO_VALIDATION, **{"optim_wrapper.accumulative_counts": 2})
    assert [f.name for f in run.folder.glob("*.pth")] == ["iter_2.pth"]


def test_data_that_do_not_fill_a_batch(run):
    with pytest.raises(ConfigError, match=r"no batch: 6 samples"):
        run(
            **NO_VALIDATION,
            **{
                "train_dataloader.sampler.type": "DefaultSampler",
                "train_dataloader.batch_size": 8,
                "train_dataloader.drop_last": True,
            },
        )
