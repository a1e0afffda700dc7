"""Checkpoints on every way in and out of a whole run: nothing in them is run, and nothing is lost."""

import os
from pathlib import Path

import numpy as np
import pytest
import tiny_run
import torch
from mmengine.hooks import Hook

from gcseg.apis import SegInferencer, init_model
from gcseg.apis.test import test as evaluate
from gcseg.apis.train import train
from gcseg.engine.checkpoint import load_checkpoint_file
from gcseg.export import publish_checkpoint
from gcseg.registry import HOOKS
from gcseg.utils import CheckpointError


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_run.write(tmp_path_factory.mktemp("tiny"))


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def resume(config, file, work_dir):
    train(config, work_dir, resume=True)


def by_load_from(config, file, work_dir):
    train(config, work_dir, cfg_options={"load_from": str(file)})


def by_pretrained(config, file, work_dir):
    train(config, work_dir, cfg_options={"model.pretrained": str(file)})


def by_init_cfg(config, file, work_dir):
    init_cfg = dict(type="Pretrained", checkpoint=str(file))
    train(config, work_dir, cfg_options={"model.backbone.init_cfg": init_cfg})


def by_http(config, file, work_dir):
    init_model(config, f"https://example.invalid/{file.name}", device="cpu")


ROUTES = {
    "--resume": resume,
    "load_from": by_load_from,
    "pretrained": by_pretrained,
    "init_cfg": by_init_cfg,
    "test.py": lambda config, file, work_dir: evaluate(config, file, work_dir=work_dir),
    "init_model": lambda config, file, work_dir: init_model(config, file, device="cpu"),
    "SegInferencer": lambda config, file, work_dir: SegInferencer(str(config), file, device="cpu"),
    "SegInferencer without a config": lambda config, file, work_dir: SegInferencer(weights=file, device="cpu"),
    "http": by_http,
    "publish_model": lambda config, file, work_dir: publish_checkpoint(file, work_dir / "out.pth"),
}


@pytest.mark.parametrize(
    ("route", "container"),
    [*((r, "zip") for r in ROUTES), ("--resume", "old"), ("init_model", "old"), ("test.py", "old")],
)
def test_a_malicious_checkpoint_is_refused_by_name_and_runs_nothing(tiny, tmp_path, monkeypatch, route, container):
    file, mark = tmp_path / "iter_3.pth", tmp_path / "mark"
    monkeypatch.setenv("GCSEG_WEIGHTS", str(tmp_path))
    content = {"state_dict": {"w": torch.ones(3)}, "meta": {"iter": 3, "payload": Payload(mark)}}
    torch.save(content, file, _use_new_zipfile_serialization=container == "zip")
    if route == "--resume":
        # The old container has no checksums, so that only the marker or load_from lead to it.
        options = {} if container == "zip" else {"load_from": str(file)}
        with pytest.raises(CheckpointError) as caught:
            train(tiny, tmp_path, resume=True, cfg_options=options)
    else:
        with pytest.raises(CheckpointError) as caught:
            ROUTES[route](tiny, file, tmp_path)
    assert "refused, nothing in it was run" in str(caught.value) and "`posix.mkdir`" in str(caught.value)
    assert "iter_3.pth" in str(caught.value) and not mark.exists()


def test_the_payload_works_where_nobody_looks(tmp_path):
    torch.save({"payload": Payload(tmp_path / "mark")}, tmp_path / "a.pth")
    torch.load(tmp_path / "a.pth", weights_only=False)
    assert (tmp_path / "mark").is_dir()


def test_published_weights_are_those_of_the_average_and_predict_the_same(tiny, tmp_path):
    """A run with EMA; its checkpoint, and both published forms of it, give the same logits and names."""
    options = {"custom_hooks": [dict(type="EMAHook", momentum=0.3)], "train_cfg.max_iters": 2}
    runner = train(tiny, tmp_path, cfg_options=options)
    average = next(h for h in runner.hooks if type(h).__name__ == "EMAHook").ema_model.module.state_dict()
    source = tmp_path / "iter_2.pth"
    files = [source, *(publish_checkpoint(source, tmp_path / "out" / f"m{s}") for s in (".pth", ".safetensors"))]
    picture, logits, metas = np.random.default_rng(0).integers(0, 255, (40, 48, 3), dtype=np.uint8), [], []
    for file in files:
        weights = load_checkpoint_file(file)["state_dict"]
        assert all(torch.equal(weights[key], value) for key, value in average.items())
        inferencer = SegInferencer(str(tiny), file, device="cpu", show_progress=False)
        logits.append(inferencer(picture, return_datasamples=True).seg_logits.data)
        metas.append(inferencer.model.dataset_meta)
    now = runner.model.state_dict()
    assert any(not torch.equal(now[key], average[key]) for key in average)
    assert torch.equal(logits[0], logits[1]) and torch.equal(logits[0], logits[2]) and logits[0].abs().sum() > 0
    assert metas[0] == metas[1] == metas[2] and metas[0]["classes"] == ("left", "right", "odd")


def test_background_checkpoints_of_a_run_are_those_of_an_ordinary_one(tiny, tmp_path):
    files = []
    for background in (False, True):
        folder = tmp_path / str(background)
        options = {"default_hooks.checkpoint.background": background, "default_hooks.checkpoint.interval": 1}
        train(tiny, folder, cfg_options={**options, "train_cfg.max_iters": 2})
        files.append(sorted(f.name for f in folder.glob("*.pth")))
    assert files[0] == files[1] and "iter_2.pth" in files[0]
    one, other = (load_checkpoint_file(tmp_path / b / "iter_2.pth") for b in ("False", "True"))
    for key, value in one["state_dict"].items():
        assert torch.equal(value, other["state_dict"][key]), key


class FillDisk(Hook):
    """Takes all space in a folder's file system during some iterations."""

    priority = "VERY_HIGH"

    def __init__(self, folder, begin, end):
        self.file, self.begin, self.end = Path(folder) / "of somebody else", begin, end

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if batch_idx == self.begin:
            with pytest.raises(OSError, match="No space"), open(self.file, "wb", buffering=0) as f:
                while True:
                    f.write(bytes(4096))
        elif batch_idx == self.end:
            self.file.unlink()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # of TensorBoard
def test_a_disk_that_is_full_for_a_while_does_not_end_a_training(tiny, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() or os.system(f"mount -t tmpfs -o size=6m tmpfs {disk} 2> /dev/null"):
        pytest.skip("needs the right to mount a file system")
    try:
        HOOKS.register_module(module=FillDisk, force=True)
        options = {
            "custom_hooks": [dict(type="FillDisk", folder=str(disk), begin=3, end=26)],
            "train_cfg.max_iters": 28,
            "train_cfg.val_interval": 14,
            "param_scheduler.0.end": 28,
            "default_hooks.checkpoint.max_keep_ckpts": 1,
        }
        train(tiny, disk / "work", cfg_options=options)
        left = sorted(f.name for f in (disk / "work").glob("*.pth"))
        log = next((disk / "work").glob("*/*.log")).read_text()
    finally:
        os.system(f"umount -l {disk}")  # lazily: the log is still open
    assert "iter_28.pth" in left and len(left) == 2 and "Iter(train) [28/28]" in log
    assert "Iter(train) [20/28]" not in log  # the log lay on that disk, too
