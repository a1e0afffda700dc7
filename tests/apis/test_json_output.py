"""``--json`` of the commands that work on a recipe: JSON on the standard output and nothing else."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_run
import torch
from several_processes import free_port, run_ranks, variables_of

from gcseg import cli
from gcseg.apis.outcome import Scores
from gcseg.cli.command import show
from gcseg.export.export import Comparison, ExportReport

ROOT = Path(__file__).resolve().parents[2]
STOPPING = "custom_hooks = [dict(type='EarlyStoppingHook', monitor='mIoU', patience=1, min_delta=100)]\n"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_run.write(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def checkpoint(tiny):
    from gcseg.apis import init_model

    torch.manual_seed(0)
    model = init_model(tiny, device="cpu")
    torch.save(dict(state_dict=model.state_dict(), meta={}), tiny.parent / "net.pth")
    return tiny.parent / "net.pth"


@pytest.fixture
def answer(capfd):
    """What a command prints as JSON, whoever writes, and what it says on stderr."""

    def run(*words, code=0):
        assert cli.main([*map(str, words), "--json"]) == code
        said = capfd.readouterr()
        return json.loads(said.out, parse_constant=pytest.fail), said.err

    return run


def started(*words, **variables):
    """The command in a process of its own, whose standard output nobody can have redirected."""
    command = [sys.executable, "-m", "gcseg.cli", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **variables}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_training(answer, tmp_path):
    tiny_run.write(tmp_path / "data")
    config = tmp_path / "data" / "tiny.py"
    config.write_text(config.read_text() + STOPPING)
    options = ["train_cfg.max_iters=9", "train_cfg.val_interval=1", "default_hooks.checkpoint.interval=1"]
    found, log = answer("train", config, "--work-dir", tmp_path / "run", "--cfg-options", *options)
    assert "Iter(train) [1/9]" in log
    assert found["work_dir"] == str(tmp_path / "run") and found["ended_early"]
    assert found["iterations"] == 2 and found["max_iters"] == 9, "one validation, and one without progress"
    assert found["checkpoint"] == str(tmp_path / "run" / "iter_2.pth") and Path(found["checkpoint"]).is_file()
    assert [Path(file).is_file() for file in found["best"]] == [True]
    logged = [json.loads(line) for line in next((tmp_path / "run").glob("*/vis_data/scalars.json")).open()]
    assert found["scores"]["mIoU"] == pytest.approx([line["mIoU"] for line in logged if "mIoU" in line][-1])
    assert set(found["scores"]) == {"aAcc", "mIoU", "mAcc"}


def test_a_test(tiny, checkpoint, answer, tmp_path):
    found, log = answer("test", tiny, checkpoint, "--work-dir", tmp_path)
    assert found == {**json.loads((tmp_path / "metrics.json").read_text()), "file": str(tmp_path / "metrics.json")}
    assert found["config"] == str(tiny) and found["checkpoint"] == str(checkpoint) and found["num_images"] == 6
    classes = found["per_class"]
    assert list(classes) == ["left", "right", "odd"]
    mean = sum(row["IoU"] for row in classes.values()) / 3
    assert found["metrics"]["mIoU"] == pytest.approx(mean, abs=0.01) and "per class results" in log


def test_the_first_images_alone(tiny, checkpoint, answer, tmp_path, capfd):
    words = ("test", tiny, checkpoint, "--work-dir", tmp_path)
    found, _ = answer(*words, "--limit", 2, "--out", tmp_path / "out")
    assert found["num_images"] == 2 and sorted(os.listdir(tmp_path / "out")) == ["p0.png", "p1.png"]
    assert cli.main([*map(str, words), "--limit", "0"]) == 2
    assert "--limit 0" in capfd.readouterr().err


def test_trials(tiny, answer):
    found, told = answer("train", tiny, "--dry-run")
    assert "train: 100%" in told and "Config:" not in told
    assert found["losses"]["loss"] > 0 and set(found["metrics"]) == {"aAcc", "mIoU", "mAcc"}
    found, _ = answer("train", tiny, "--overfit", 1, code=1)
    assert found["iterations"] == 1 and found["learnt"] is False and len(found["losses"]) == 2


def test_data(tiny, answer, tmp_path):
    found, told = answer("check", tiny, "--workers", 0, code=1)
    assert found["files"] == 12 and found["kinds"] == {"leakage": 6}, "its splits are the same images"
    assert "checking: 100%" in told
    found, told = answer("store", tiny, "--out", tmp_path / "store")
    assert found["options"] == {"train_dataloader.dataset.store": str(tmp_path / "store")}
    assert found["folders"] == {str(tmp_path / "store"): {"written": 12, "kept": 0, "size": 6 * 40 * 48 * 4}}
    assert "12 files to decode" in told and "decoding: 100%" in told


def test_a_report(tiny, checkpoint, answer, tmp_path):
    answer("test", tiny, checkpoint, "--work-dir", tmp_path)
    found, _ = answer("report", tmp_path)
    page = tmp_path / "report.html"
    assert found == {"file": str(page), "bytes": page.stat().st_size, "work_dir": str(tmp_path), "against": None}


def test_an_export(answer, tmp_path, monkeypatch):
    (tmp_path / "net.onnx").write_bytes(b"12345")
    facts = dict(image="uint8", output="labels", labels="uint8")
    report = ExportReport(tmp_path / "net.onnx", "onnx", facts, 1e-4, [Comparison((1, 2, 3), 1e-6, 1.0, 2)], ["a note"])
    monkeypatch.setattr("gcseg.export.export_model", lambda *args, **options: print("of an exporter") or report)
    found, told = answer("export", "cfg", "net.pth")
    assert found == {
        "file": str(report.file),
        "bytes": 5,
        "format": "onnx",
        "metadata": facts,
        "tolerance": 1e-4,
        "comparisons": [{"shape": [1, 2, 3], "difference": 1e-6, "equal": 1.0, "seen": 2}],
        "notes": ["a note"],
    }
    assert told == "of an exporter\n"


def test_the_demo(answer, tmp_path, monkeypatch):
    scores = Scores({"mIoU": 50.0}, tmp_path / "metrics.json", {"metrics": {"mIoU": 50.0}})
    monkeypatch.setattr("gcseg.apis.demo.run_demo", lambda *args: scores)
    assert answer("demo")[0] == {"metrics": {"mIoU": 50.0}, "file": str(tmp_path / "metrics.json")}


def test_a_file_beside_the_text(tiny, checkpoint, tmp_path, capsys):
    file = tmp_path / "deep" / "scores.json"
    assert cli.main(["test", str(tiny), str(checkpoint), "--work-dir", str(tmp_path), "--json", str(file)]) == 0
    last = capsys.readouterr().out.strip().splitlines()[-1]
    found = json.loads(file.read_text())
    assert f"mIoU {found['metrics']['mIoU']:.2f}" in last and last.endswith(f"of 6 images: {tmp_path / 'metrics.json'}")


def test_a_file_that_cannot_be_written_is_told_before_the_work(tiny, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert cli.main(["test", str(tiny), "gone.pth", "--json", str(tmp_path / "file" / "x.json")]) == 2
    assert "x.json: cannot be written" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        cli.main(["test", "--json", str(tiny), "gone.pth"])
    assert "tiny.py' does not end in .json; to print" in capsys.readouterr().err


def print_here(rank, file):
    with open(file / f"{rank}.txt", "w") as out:
        show({"rank": rank}, "", argparse.Namespace(json="-", stdout=out))


def test_of_several_processes_the_first_prints(tmp_path):
    run_ranks(print_here, 2, tmp_path)
    assert json.loads((tmp_path / "0.txt").read_text()) == {"rank": 0} and (tmp_path / "1.txt").read_text() == ""


@pytest.mark.slow
def test_of_a_test_on_two_processes_the_first_prints(tiny, checkpoint, tmp_path):
    port = free_port()
    words = ("test", tiny, checkpoint, "--work-dir", tmp_path, "--launcher", "pytorch", "--json")
    processes = [started(*words, **variables_of(rank, 2, port)) for rank in range(2)]
    (first, log), (second, _) = [process.communicate(timeout=500) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], log
    assert json.loads(first)["num_images"] == 6 and second == ""
