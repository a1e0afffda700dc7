"""Two gloo processes: FSDP2 gives the weights and the checkpoints of data-parallel training, whoever resumes them."""

import shutil

import pytest
import tiny_run
import torch
from mmengine.logging import MMLogger
from several_processes import run_ranks

import gcseg.engine.registered
import gcseg.evaluation.metrics
import gcseg.models.segmentors
import gcseg.visualization.local_visualizer  # noqa: F401  (loaded once, before the forks)
from gcseg.apis.test import test as evaluate
from gcseg.apis.train import train
from gcseg.engine.checkpoint import load_checkpoint_file
from gcseg.engine.sharded import has_fsdp2

pytestmark = [
    pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU"),
    pytest.mark.skipif(not has_fsdp2(), reason="this torch has no FSDP2 that can validate"),
]

ADAM = """
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.01),
                     clip_grad=dict(max_norm=1.0))
auto_scale_lr = dict(base_batch_size=4)
val_dataloader["dataset"]["indices"] = 5  # three batches for one process, two for the other
visualizer["vis_backends"] = [dict(type="LocalVisBackend")]
"""
SHARDED = 'model_wrapper_cfg = dict(type="FSDP2")'


@pytest.fixture
def configs(tmp_path, monkeypatch):
    """Of a data-parallel and of a sharded training, otherwise alike."""
    monkeypatch.setattr("mmengine.runner.runner.collect_env", dict)  # asks compilers for their versions, for seconds
    config = tiny_run.write(tmp_path / "data")
    files = {}
    for name, extra in (("whole", ADAM), ("sharded", ADAM + SHARDED)):
        files[name] = config.with_name(f"{name}.py")
        files[name].write_text(config.read_text() + extra)
    return files


def begun(source, folder):
    """A work folder with the checkpoint that another run left half way."""
    folder.mkdir()
    shutil.copy(source / "iter_2.pth", folder)
    return folder


def train_on_rank(rank, runs):
    """Several trainings in one group; what each left in the model, and how much of it this process holds."""
    found = []
    for config, folder, source in runs:
        MMLogger._instance_dict.clear()
        if source is not None and rank == 0:
            begun(source, folder)
        torch.distributed.barrier()
        runner = train(config, folder, resume=source is not None, launcher="pytorch")
        held = sum(p.to_local().numel() if hasattr(p, "to_local") else p.numel() for p in runner.model.parameters())
        found.append(
            (runner.model.module.state_dict(), held, runner.message_hub.get_scalar("val/mIoU").data[0].tolist())
        )
    return found


def largest_difference(a, b):
    assert list(a) == list(b)
    return max((a[k].double() - b[k].double()).abs().max().item() for k in a)


def optimizer_difference(a, b):
    assert a["param_groups"] == b["param_groups"] and list(a["state"]) == list(b["state"])
    return max(largest_difference(a["state"][i], b["state"][i]) for i in a["state"])


@pytest.mark.slow  # the parts are tested in tests/engine/test_sharded.py
def test_sharded_training_is_data_parallel_training(configs, tmp_path):
    whole, sharded, resumed = (tmp_path / name for name in ("whole", "sharded", "resumed"))
    runs = [
        (configs["whole"], whole, None),
        (configs["sharded"], sharded, None),
        (configs["sharded"], resumed, whole),
    ]
    ranks = run_ranks(train_on_rank, 2, runs, timeout=300)
    weights, all_of_it, scores = ranks[0][0]
    for rank in ranks:
        for run, (found, held, its_scores) in zip(runs, rank, strict=True):
            assert largest_difference(found, weights) < 1e-6, run
            assert held < 0.55 * all_of_it if run[0] == configs["sharded"] else held == all_of_it
            assert its_scores == pytest.approx(scores[-len(its_scores) :], abs=1e-3)
    start, end, expected = (
        load_checkpoint_file(folder / name)
        for folder, name in ((sharded, "iter_2.pth"), (sharded, "iter_4.pth"), (whole, "iter_4.pth"))
    )
    assert largest_difference(end["state_dict"], expected["state_dict"]) < 1e-6
    assert optimizer_difference(end["optimizer"], expected["optimizer"]) < 1e-6
    assert largest_difference(start["state_dict"], end["state_dict"]) > 1e-4, "the training did nothing"
    assert end["state_dict"]._metadata == expected["state_dict"]._metadata
    # In one process, and by a config that knows nothing of sharding.
    metrics = evaluate(configs["whole"], sharded / "iter_4.pth", work_dir=tmp_path / "test")
    assert metrics["mIoU"] == pytest.approx(scores[-1], abs=1e-3)


@pytest.mark.slow
def test_a_sharded_run_is_resumed_whole_and_by_itself(configs, tmp_path):
    sharded, whole, again = (tmp_path / name for name in ("sharded", "whole", "again"))
    runs = [
        (configs["sharded"], sharded, None),
        (configs["whole"], whole, sharded),
        (configs["sharded"], again, sharded),
    ]
    for rank in run_ranks(train_on_rank, 2, runs, timeout=300):
        (weights, _, _), (of_whole, _, _), (of_again, _, _) = rank
        assert largest_difference(of_whole, weights) < 1e-6 and largest_difference(of_again, weights) == 0


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(configs, tmp_path):
    two, one = tmp_path / "two", tmp_path / "one"
    run_ranks(train_on_rank, 2, [(configs["whole"], two, None)], timeout=300)
    runner = train(configs["whole"], begun(two, one), resume=True)
    assert runner.iter == 4 and runner.message_hub.get_info("samples_seen") == 2 * 4 + 2 * 2
    log = next(one.glob("*/*.log")).read_text()
    assert "one step sees 2 images (1 process x 2 images); before, it saw 4 images" in log
    assert "while the learning rate of the config is for 4 (auto_scale_lr.base_batch_size)" in log
    (one / "iter_2.pth").unlink()
    options = {"train_cfg.max_iters": 6}
    ranks = run_ranks(resume_on_rank, 2, configs["whole"], one, options, timeout=300)
    assert ranks == [(6, 12 + 2 * 4)] * 2


def resume_on_rank(rank, config, folder, options):
    runner = train(config, folder, resume=True, launcher="pytorch", cfg_options=options)
    return runner.iter, runner.message_hub.get_info("samples_seen")
