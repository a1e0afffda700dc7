"""``~`` in a folder that results go to: a shell leaves it in ``--work-dir=~/runs``, and Python does."""

import json
import os

import pytest
import tiny_run

from gcseg.analysis import browse_dataset
from gcseg.apis.predict import predict
from gcseg.apis.store import write_store
from gcseg.apis.test import test as evaluate
from gcseg.apis.train import train
from gcseg.config import load_config


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The user's folder, while one stands in another, in which there must be nothing afterwards."""
    for name in ("home", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    yield tmp_path / "home"
    assert os.listdir() == []


def test_results_of_all_commands_go_to_the_users_folder(tmp_path, home):
    config = tiny_run.write(tmp_path / "data")
    cfg = load_config(config, {"train_cfg.max_iters": 1, "work_dir": "~/run"})
    runner = train(cfg)
    assert runner.work_dir == str(home / "run") and (home / "run" / "iter_1.pth").is_file()

    found = evaluate(config, home / "run" / "iter_1.pth", "~/test", out="~/labels", show_dir="~/painted", limit=1)
    assert json.loads((home / "test" / "metrics.json").read_text())["num_images"] == 1 and found.file.is_file()
    assert list(home.glob("labels/*.png")) and list(home.glob("painted/**/*.png"))

    image = tmp_path / "data" / "img" / "p0.jpg"
    (result,) = predict(home / "run" / "iter_1.pth", [image], "~/predicted", save=["index"], show_progress=False)
    assert result.outputs["index"] == str(home / "predicted" / "index" / "p0.png")

    assert browse_dataset(config, "~/browsed", count=1) == [home / "browsed" / "000000_p0.png"]
    assert list(write_store(config, "~/stored").folders) == [str(home / "stored")]
