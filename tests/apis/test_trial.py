"""Short runs: one step of everything, one batch by heart, a few images."""

import os
from pathlib import Path

import pytest
import tiny_run

from gcseg import cli
from gcseg.apis.train import train
from gcseg.apis.trial import dry_run, overfit
from gcseg.config import load_config
from gcseg.utils import ConfigError, DataError


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_run.write(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty folder to stand in, and one for temporary files."""
    for name in ("here", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    yield tmp_path
    assert os.listdir(tmp_path / "here") == [] == list((tmp_path / "temporary").glob("gcseg*"))


def test_a_dry_run_does_everything_once_and_keeps_nothing(tiny, elsewhere):
    found = dry_run(tiny)
    assert found.losses["loss"] == pytest.approx(found.losses["decode.loss_ce"] + found.losses["aux.loss_ce"])
    assert 0 <= found.metrics["mIoU"] <= 100 and found.checkpoint_mb > 0.01
    assert "all work" in str(found)


def test_a_dry_run_meets_what_a_training_would_meet(tiny, elsewhere):
    with pytest.raises(DataError, match="nowhere"):
        dry_run(tiny, cfg_options={"val_dataloader.dataset.data_prefix.img_path": "nowhere"})


def test_a_dry_run_validates_two_images_of_each_data_set_inside_a_wrapper(tiny, elsewhere, monkeypatch):
    from gcseg.evaluation.metrics import IoUMetric

    seen = []
    process = IoUMetric.process
    monkeypatch.setattr(IoUMetric, "process", lambda *args: (seen.append(1), process(*args))[1])
    cfg = load_config(tiny)
    dataset = cfg.val_dataloader.dataset
    cfg.val_dataloader.dataset = dict(type="ConcatDataset", datasets=[dataset, dataset])
    assert dry_run(cfg).losses
    assert len(seen) == 4


def test_a_head_that_does_not_count_right_pixels_cannot_be_judged(tiny, elsewhere, monkeypatch):
    from gcseg.models import GCHead
    from gcseg.registry import MODELS

    @MODELS.register_module(force=True)
    class SilentHead(GCHead):
        def loss_by_feat(self, *args, **options):
            return {name: value for name, value in super().loss_by_feat(*args, **options).items() if "acc" not in name}

    monkeypatch.setattr("mmengine.runner.runner.time.strftime", lambda *_: "20260101_000000")
    overfit(tiny, 1)  # whose records another trial of the same second must not see
    with pytest.raises(ConfigError, match="acc_seg"):
        overfit(tiny, 1, cfg_options={"model.decode_head.type": "SilentHead"})


def test_one_batch_is_learnt_by_heart(tiny, elsewhere):
    cfg = load_config(tiny)
    cfg.optim_wrapper.optimizer = dict(type="AdamW", lr=0.02)
    found = overfit(cfg, 60)
    assert found.iterations == 60 and found.losses[1] < 0.5 * found.losses[0]
    assert not overfit(tiny, 1).learnt


def test_the_batch_stays_the_same(tiny):
    from gcseg.registry import DATASETS

    cfg = load_config(tiny)
    fixed = DATASETS.build(dict(type="FixedSamples", dataset=cfg.train_dataloader.dataset, count=2))
    first, again = (fixed[1]["inputs"] for _ in range(2))
    assert len(fixed) == 2 and first.equal(again) and first.data_ptr() != again.data_ptr()
    assert fixed.metainfo["classes"] == ("left", "right", "odd")


def test_limit(tiny, tmp_path):
    runner = train(tiny, work_dir=tmp_path, limit=2)
    assert len(runner.train_dataloader.dataset) == len(runner.val_dataloader.dataset) == 2
    with pytest.raises(ConfigError, match="--limit 0"):
        train(tiny, work_dir=tmp_path, limit=0)


def test_the_command(tiny, elsewhere, capsys):
    assert cli.main(["train", str(tiny), "--dry-run"]) == 0
    said = capsys.readouterr()
    lines = said.out.strip().splitlines()
    assert "all work" in lines[-1] and len(lines) < 6, "no environment, config and list of hooks"
    assert "train: 100%" in said.err and "val: 100%" in said.err, "progress without a terminal as well"
    assert cli.main(["train", str(tiny), "--overfit", "1"]) == 1
    lines = capsys.readouterr().out.strip().splitlines()
    assert "less than 95 %" in lines[-1] and len(lines) < 6
    assert cli.main(["train", str(tiny), "--dry-run", "--resume", "--work-dir", "w"]) == 2
    assert "--resume, --work-dir: no effect" in capsys.readouterr().err
    assert not Path("w").exists()


def test_a_trial_that_fails_shows_the_end_of_its_log(tiny, elsewhere, capsys):
    broken = ["--cfg-options", "model.decode_head.loss_decode.loss_weight=1e400"]
    assert cli.main(["train", str(tiny), "--dry-run", *broken]) == 2
    tail, _, error = capsys.readouterr().err.partition("gcseg: error: ")
    assert "not finite" in error and len(error.splitlines()) == 1
    log = tail.partition("the end of its log:\n")[2].splitlines()
    assert 1 < len(log) <= 15 and "Checkpoints will be saved to" in log[-1]


def test_warnings_are_shown_and_later_runs_log_as_usual(tiny, elsewhere, capsys):
    from mmengine.hooks import Hook

    from gcseg.registry import HOOKS

    @HOOKS.register_module(force=True)
    class Warns(Hook):
        def before_train(self, runner):
            runner.logger.warning("look here")
            runner.logger.info("not here")

    cfg = load_config(tiny)
    cfg.custom_hooks = [dict(type="Warns")]
    dry_run(cfg)
    said = capsys.readouterr().out
    assert "look here" in said and "not here" not in said
    train(cfg, work_dir=elsewhere / "run", cfg_options={"train_cfg.max_iters": 1})
    said = capsys.readouterr().out
    assert "look here" in said and "not here" in said and "Iter(train) [1/1]" in said


def test_trials_have_one_runner(tiny, elsewhere):
    from gcseg.registry import RUNNERS

    def registered():
        return {name: kind for name, kind in RUNNERS.module_dict.items() if name.startswith("Trial")}

    dry_run(tiny)
    first = registered()
    dry_run(tiny)
    assert first and registered() == first


def test_a_runner_of_the_users_own_is_tried(tiny, elsewhere, capsys):
    from mmengine.runner import Runner

    from gcseg.registry import RUNNERS

    @RUNNERS.register_module(force=True)
    class OwnRunner(Runner):
        def train(self):
            self.logger.warning("a run of my own")
            return super().train()

    cfg = load_config(tiny)
    cfg.runner_type = "OwnRunner"
    assert dry_run(cfg).losses
    said = capsys.readouterr().out
    assert "a run of my own" in said and "Config:" not in said
    assert cfg.runner_type == "OwnRunner" and not cfg.get("custom_hooks"), "the config stays as it is"
