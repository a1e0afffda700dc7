import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_run
import torch
from mmengine.config import Config
from PIL import Image
from several_processes import free_port

from gcseg.apis.test import test as evaluate
from gcseg.apis.test import use_tta, write_predictions
from gcseg.apis.train import settle_resume, train
from gcseg.cli import train_main
from gcseg.engine.checkpoint import load_checkpoint_file
from gcseg.utils import CheckpointError, ConfigError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A config, the folder of a finished training, and the runner."""
    config = tiny_run.write(tmp_path_factory.mktemp("tiny"))
    work_dir = tmp_path_factory.mktemp("run")
    return config, work_dir, train(config, work_dir=work_dir)


def test_training_leaves_checkpoints_config_and_scalars(tiny):
    _, work_dir, runner = tiny
    assert runner.iter == 4 and (work_dir / "last_checkpoint").read_text() == str(work_dir / "iter_4.pth")
    assert list(work_dir.glob("best_mIoU_iter_*.pth"))
    checkpoint = load_checkpoint_file(work_dir / "iter_4.pth")
    assert checkpoint["meta"]["dataset_meta"]["classes"] == ("left", "right", "odd")
    assert checkpoint["meta"]["dataset_meta"]["palette"] == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    assert checkpoint["meta"]["iter"] == 4 and checkpoint["meta"]["seed"] == 1
    for key, value in runner.model.state_dict().items():
        assert torch.equal(checkpoint["state_dict"][key], value.cpu())
    dumped = Config.fromfile(work_dir / "tiny.py")
    assert dumped.train_cfg.max_iters == 4 and "custom_hooks" not in dumped
    assert dumped.model.backbone.norm_cfg.type == "BN" or torch.cuda.device_count() > 1
    scalars = [json.loads(line) for line in next(work_dir.glob("*/vis_data/scalars.json")).read_text().splitlines()]
    assert [s["step"] for s in scalars if "decode.loss_ce" in s] == [1, 2, 3, 4]
    assert [s["step"] for s in scalars if "mIoU" in s] == [2, 4]
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(next(work_dir.glob("*/vis_data/events*"))))
    events.Reload()
    assert [e.step for e in events.Scalars("decode.loss_ce")] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("model.backbone.out_indices=[]", r"model\.backbone: out_indices: received \(\), allowed are 0 to 3"),
        ("model.test_cfg.mode=slide", r"model: test_cfg\.crop_size=None: mode='slide' needs two positive integers"),
        (
            "train_dataloader.timeout=-1",
            r"train_dataloader: cannot be built from timeout=-1: ValueError: time",
        ),
        (
            "optim_wrapper.optimizer.lr=-1",
            r"optim_wrapper\.optimizer: SGD cannot be built from lr=-1, .*Invalid learning",
        ),
        (
            "param_scheduler.0.begin=9",
            r"param_scheduler\[0\]: PolyLR cannot be built from begin=9, end=4: ValueError: end",
        ),
        ("optim_wrapper.optimizer.lr=a", r"optim_wrapper\.optimizer\.lr: received 'a', expected float"),
    ],
)
def test_a_value_that_a_part_refuses_is_one_paragraph(tiny, tmp_path, capfd, option, said):
    assert train_main([str(tiny[0]), "--work-dir", str(tmp_path), "--cfg-options", option]) == 2
    assert re.match(f"gcseg: error: {said}", capfd.readouterr().err.splitlines()[-1])


def test_amp_of_no_optimizer_wrapper(tiny, tmp_path):
    with pytest.raises(ConfigError, match=r"^optim_wrapper: received 'abc'"):
        train(tiny[0], tmp_path, amp=True, cfg_options={"optim_wrapper": "abc"})


def test_evaluation_writes_json_predictions_and_pictures(tiny, tmp_path):
    config, work_dir, _ = tiny
    metrics = evaluate(
        config, work_dir / "iter_4.pth", work_dir=tmp_path, out=tmp_path / "out", show_dir=tmp_path / "show"
    )
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["metrics"]["mIoU"] == pytest.approx(metrics["mIoU"])
    assert set(written["per_class"]) == {"left", "right", "odd"} and written["num_images"] == 6
    assert metrics["mIoU"] == pytest.approx(np.mean([c["IoU"] for c in written["per_class"].values()]))
    confusion = np.zeros((3, 3))
    for file in sorted((tmp_path / "out").glob("*.png")):
        prediction, label = (np.array(Image.open(f)) for f in (file, config.parent / "ann" / file.name))
        assert prediction.shape == (40, 48)
        np.add.at(confusion, (prediction[label != 255], label[label != 255]), 1)
    iou = confusion.diagonal() / (confusion.sum(0) + confusion.sum(1) - confusion.diagonal())
    assert metrics["mIoU"] == pytest.approx(100 * iou.mean(), abs=0.01)
    assert len(list((tmp_path / "show").rglob("*.png"))) == 6
    assert (tmp_path / "tiny_test.py").is_file() and not (tmp_path / "tiny.py").exists()


def test_scores_that_are_no_numbers_are_null_in_the_json(tiny, tmp_path):
    config, work_dir, _ = tiny
    shutil.copytree(config.parent / "ann", tmp_path / "ann")
    for file in (tmp_path / "ann").iterdir():
        Image.fromarray(np.full((40, 48), 255, np.uint8)).save(file)
    options = {"test_dataloader.dataset.data_prefix.seg_map_path": str(tmp_path / "ann")}
    metrics = evaluate(config, work_dir / "iter_4.pth", work_dir=tmp_path / "run", cfg_options=options)
    assert math.isnan(metrics["mIoU"])

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    written = json.loads((tmp_path / "run" / "metrics.json").read_text(), parse_constant=refuse)
    assert written["metrics"]["mIoU"] is None


def test_tta_reaches_the_data_sets_inside_wrappers(tiny):
    cfg = Config.fromfile(tiny[0])
    one = dict(type="X", pipeline=[])
    cfg.test_dataloader.dataset = dict(
        type="ConcatDataset", datasets=[one, dict(type="RepeatDataset", times=2, dataset=one)]
    )
    validated = cfg.val_dataloader.dataset.pipeline
    use_tta(cfg)
    first, second = cfg.test_dataloader.dataset.datasets
    assert first.pipeline == second.dataset.pipeline == cfg.tta_pipeline and "pipeline" not in second
    assert cfg.val_dataloader.dataset.pipeline == validated != cfg.tta_pipeline


def test_tta_and_out_work_together(tiny, tmp_path):
    config, work_dir, _ = tiny
    metrics = evaluate(config, work_dir / "iter_4.pth", work_dir=tmp_path, out=tmp_path / "out", tta=True)
    assert len(list((tmp_path / "out").glob("*.png"))) == 6
    assert json.loads((tmp_path / "metrics_tta.json").read_text())["metrics"]["mIoU"] == pytest.approx(metrics["mIoU"])


def test_resume_goes_on_from_the_newest_whole_checkpoint(tiny, tmp_path):
    config, work_dir, _ = tiny
    for name in ("iter_2.pth", "iter_4.pth"):
        data = (work_dir / name).read_bytes()
        (tmp_path / name).write_bytes(data if name == "iter_2.pth" else data[:-1000])
    (tmp_path / "last_checkpoint").write_text("/elsewhere/iter_4.pth")
    runner = train(config, work_dir=tmp_path, resume=True, cfg_options={"randomness": {}})
    assert runner.iter == 4 and runner.seed == 1
    log = next(tmp_path.glob("*/*.log")).read_text()
    assert "resumed epoch: 0, iter: 2" in log
    steps = [json.loads(line) for line in next(tmp_path.glob("*/vis_data/scalars.json")).read_text().splitlines()]
    assert [s["step"] for s in steps if "lr" in s] == [3, 4]
    lrs = [s["lr"] for s in steps if "lr" in s]
    first_file = sorted(work_dir.glob("*/vis_data/scalars.json"))[0]
    first_steps = [json.loads(line) for line in first_file.read_text().splitlines()]
    assert lrs == [s["lr"] for s in first_steps if s.get("step") in (3, 4) and "lr" in s]
    assert "momentum_buffer" in load_checkpoint_file(tmp_path / "iter_4.pth")["optimizer"]["state"][0]


def test_fine_tuning_with_other_classes_lists_what_it_left_out(tiny, tmp_path):
    config, work_dir, source = tiny
    four = {"classes": ("left", "right", "odd", "new"), "palette": [[i, i, i] for i in range(4)]}
    options = {
        "load_from": str(work_dir / "iter_4.pth"),
        "model.decode_head.num_classes": 4,
        "model.auxiliary_head.num_classes": 4,
        **{f"{loader}_dataloader.dataset.metainfo": four for loader in ("train", "val", "test")},
        "train_cfg.max_iters": 1,
        "optim_wrapper.optimizer.lr": 0.0,
    }
    runner = train(config, work_dir=tmp_path, cfg_options=options)
    log = next(tmp_path.glob("*/*.log")).read_text()
    assert "left out decode_head.conv_seg.weight: (3, 8, 1, 1) in the checkpoint, (4, 8, 1, 1) in the model" in log
    ours = runner.model.state_dict()["backbone.layer4.1.conv2.weight"]
    assert torch.equal(ours, source.model.state_dict()["backbone.layer4.1.conv2.weight"])


def test_evaluating_a_checkpoint_of_another_architecture_is_an_error(tiny, tmp_path):
    config, work_dir, _ = tiny
    with pytest.raises(CheckpointError, match=r"match.*ResNetV1c-18 of width 4 as backbone"):
        evaluate(config, work_dir / "iter_4.pth", work_dir=tmp_path, cfg_options={"model.backbone.depth": 34})


def pretend_cpu(monkeypatch, folder, flags):
    (folder / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    monkeypatch.setattr("gcseg.engine.hardware._CPUINFO", folder / "cpuinfo")


@pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")
def test_amp_without_the_hardware_is_one_paragraph(tiny, tmp_path, monkeypatch, capsys):
    pretend_cpu(monkeypatch, tmp_path, "fpu avx2 avx512f")
    assert train_main([str(tiny[0]), "--amp", "--work-dir", str(tmp_path / "w")]) == 2
    message = capsys.readouterr().err
    assert "bfloat16" in message and "Leave out --amp" in message and message.count("\n") == 1
    assert not (tmp_path / "w").exists()


def test_amp_trains_and_validates_under_autocast(tiny, tmp_path, monkeypatch):
    from gcseg.models.decode_heads import GCHead

    pretend_cpu(monkeypatch, tmp_path, "fpu avx512_bf16")
    seen, forward = set(), GCHead.forward

    def watched(self, inputs):
        out = forward(self, inputs)
        seen.add((self.training, out.dtype))
        return out

    monkeypatch.setattr(GCHead, "forward", watched)
    train(
        tiny[0], work_dir=tmp_path, amp=True, cfg_options={"train_cfg.max_iters": 1, "optim_wrapper.loss_scale": 64.0}
    )
    low = torch.bfloat16 if not torch.cuda.is_available() else next(iter(seen))[1]
    assert low != torch.float32 and seen == {(True, low), (False, low)}


@pytest.mark.slow
def test_the_launch_script_trains_on_two_processes_without_a_gpu(tiny, tmp_path):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHON": sys.executable}
    environment["PORT"] = str(free_port())
    command = ["bash", ROOT / "tools" / "dist_train.sh", tiny[0], "2", "--work-dir", tmp_path]
    command += ["--cfg-options", "train_cfg.max_iters=2", "default_hooks.checkpoint.save_best=None"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "GPU number: 2" in next(tmp_path.glob("*/*.log")).read_text() and (tmp_path / "iter_2.pth").is_file()


def train_as_rank(rank, port, config, work_dir):
    variables = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=2, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    os.environ.update({key: str(value) for key, value in variables.items()})
    torch.set_num_threads(1)
    runner = train(config, work_dir=work_dir, launcher="pytorch", cfg_options={"train_cfg.max_iters": 2})
    total = sum(p.double().abs().sum() for p in runner.model.parameters()).item()
    (work_dir / f"rank{rank}.txt").write_text(f"{total!r} {type(runner.model).__name__}")


@pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")
def test_two_processes_without_a_gpu_train_one_model(tiny, tmp_path):
    port, fork = free_port(), torch.multiprocessing.get_context("fork")
    processes = [fork.Process(target=train_as_rank, args=(r, port, tiny[0], tmp_path)) for r in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    assert [p.exitcode for p in processes] == [0, 0]
    results = [(tmp_path / f"rank{r}.txt").read_text() for r in range(2)]
    assert results[0] == results[1] and "DistributedDataParallel" in results[0]
    log = next(tmp_path.glob("*/*.log")).read_text()
    assert "GPU number: 2" in log and "mIoU" in log and (tmp_path / "iter_2.pth").is_file()
    assert Config.fromfile(tmp_path / "tiny.py").env_cfg.dist_cfg.backend == "gloo"


def test_wrong_requests_name_the_remedy(tiny, tmp_path):
    config = tiny[0]
    with pytest.raises(ConfigError, match="tta_pipeline"):
        use_tta(Config(dict(tta_model=dict(type="SegTTAModel"), test_dataloader=dict(dataset={}))))
    with pytest.raises(ConfigError, match="IoUMetric"):
        write_predictions(Config(dict(test_evaluator=dict(type="Mine"))), "out")
    with pytest.raises(ConfigError, match="torchrun"):
        train(config, work_dir=tmp_path, launcher="pytorch")


def test_a_work_dir_that_cannot_be_made(tiny, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"work_dir .*file/below.* cannot be made.*--work-dir"):
        train(tiny[0], tmp_path / "file" / "below")


def test_a_second_run_in_the_folder_of_another_is_told(tmp_path, capfd):
    cfg = Config(dict(work_dir=str(tmp_path)))
    assert settle_resume(cfg, resume=False, prefer_load_from=False) is None
    assert "earlier run" not in "".join(capfd.readouterr())
    (tmp_path / "last_checkpoint").touch()
    assert settle_resume(cfg, resume=False, prefer_load_from=False) is None and not cfg.resume
    assert re.search(rf"{tmp_path} holds checkpoints of an earlier run.*--resume", "".join(capfd.readouterr()))


def test_what_is_resumed_from(tmp_path, tiny):
    source = tiny[1] / "iter_2.pth"
    cfg = Config(dict(work_dir=str(tmp_path), load_from=None, resume=False))
    assert settle_resume(cfg, False, True) is None and not cfg.resume
    assert settle_resume(cfg, True, False) is None and not cfg.resume
    cfg = Config(dict(work_dir=str(tmp_path), load_from=str(source), resume=True))
    assert settle_resume(cfg, False, True) == 1 and cfg.resume and cfg.load_from == str(source)
    (tmp_path / "iter_4.pth").write_bytes((tiny[1] / "iter_4.pth").read_bytes())
    assert settle_resume(cfg, True, False) == 1 and cfg.resume and cfg.load_from is None
    assert (tmp_path / "last_checkpoint").read_text() == str(tmp_path / "iter_4.pth")
