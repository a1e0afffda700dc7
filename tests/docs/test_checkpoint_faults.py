"""The messages about checkpoints in docs/reliability.md are those that are given."""

import errno
import os
import shutil
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "engine" / "hooks"))
from checkpoint_tools import Runner

from gcseg.engine import resume
from gcseg.engine.checkpoint import load_checkpoint_file
from gcseg.engine.hooks import CheckpointHook, checkpoint_hook
from gcseg.utils import CheckpointError

ROOT = Path(__file__).parents[2]
FILE = Path("work/iter_4000.pth")


def listed():
    rows = [line.split(" | ", 1) for line in (ROOT / "docs" / "reliability.md").read_text().splitlines()]
    return {row[1].removesuffix(" |") for row in rows if len(row) == 2}


class Weights(bytes):
    def __len__(self):
        return 397_100_000


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    FILE.parent.mkdir()
    torch.save({"state_dict": {"w": torch.ones(2000)}}, FILE)
    return tmp_path


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_what_a_failing_disk_brings(folder, monkeypatch, number):
    run, hook = Runner("work", max_iters=4000), CheckpointHook(4000, by_epoch=False)
    hook.before_train(run)

    def failing(path, data):
        raise OSError(number, os.strerror(number))

    usage = namedtuple("usage", "free")(12_300_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    monkeypatch.setattr(checkpoint_hook, "write_atomically", failing)
    finish = hook._finish

    def finish_large(runner, save):
        save.data = Weights(save.data)
        finish(runner, save)

    monkeypatch.setattr(hook, "_finish", finish_large)
    run.iter = 3999
    hook.after_train_iter(run, 3999)
    assert run.logged("ERROR")[0] in listed()
    with pytest.raises(CheckpointError) as caught:
        hook.after_train(run)
    assert number != errno.ENOSPC or str(caught.value) in listed()


def test_what_a_folder_that_cannot_be_written_brings(folder):
    Path("file").touch()
    with pytest.raises(CheckpointError) as caught:
        CheckpointHook(5, by_epoch=False, out_dir="file").before_train(Runner("work"))
    assert str(caught.value) in listed()


@pytest.mark.parametrize(
    "change", [lambda d: d[:5000], lambda d: b"", lambda d: bytes(5000)], ids=["cut", "empty", "0"]
)
def test_what_resuming_says(folder, monkeypatch, change):
    said = []
    monkeypatch.setattr(resume, "print_log", lambda text, **_: said.append(text))
    FILE.write_bytes(change(FILE.read_bytes()))
    assert resume.prepare_resume("work") is None
    assert said[0].replace(str(folder), "/runs") in listed()


def test_what_loading_says(folder):
    class Payload:
        def __reduce__(self):
            return os.system, ("true",)

    whole = FILE.read_bytes()
    at = whole.find(np.ones(100, np.float32).tobytes())
    for content in (whole[:5000], whole[:at] + b"\1" + whole[at + 1 :], None):
        if content is None:
            torch.save({"state_dict": Payload()}, FILE)
        else:
            FILE.write_bytes(content)
        with pytest.raises(CheckpointError) as caught:
            load_checkpoint_file(FILE)
        assert str(caught.value) in listed()
