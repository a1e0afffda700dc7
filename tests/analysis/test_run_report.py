"""A report from what runs leave in their folders."""

import json
import shutil
import sys
from base64 import b64encode
from pathlib import Path

import numpy as np
import pytest

from gcseg.analysis import read_run, write_report
from gcseg.cli import main
from gcseg.utils import DataError

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "visualization"))
from log_files import trained, write_log
from report_tools import encoded


def steps(first, last, loss=1.0, every=20):
    return [trained(i, loss) for i in range(first, last + 1, every)]


def test_losses_that_are_not_finite_are_named(tmp_path):
    write_log(tmp_path, "20260101_100000", [*steps(20, 40), *steps(60, 60, float("nan")), *steps(80, 80, float("inf"))])
    assert "not finite at iteration 60, 80" in write_report(tmp_path).read_text()


def test_ten_thousand_lines_make_a_small_page(tmp_path):
    write_log(tmp_path, "20260101_100000", steps(1, 10_000, every=1))
    page = write_report(tmp_path)
    assert page == tmp_path / "report.html" and page.stat().st_size < 150_000


def result(classes=("a", "b"), **changes):
    """What a test leaves: ten pixels of each class, one of the second taken for the first."""
    size = len(classes)
    confusion = 10 * np.eye(size, dtype=int)
    if size > 1:
        confusion[1, 0], confusion[1, 1] = 1, 9
    maps = {k: b64encode(encoded(np.zeros((4, 6)))).decode() for k in ("truth", "prediction")}
    one = {"path": "ü/p.jpg", "score": 0.5, "accuracy": 0.9, "iou": [[0, 0.5]], "photograph": None, **maps}
    found = {
        "classes": list(classes),
        "palette": [[i, i, i] for i in range(size)],
        "num_images": 3,
        "num_unlabelled": 0,
        "confusion": confusion.tolist(),
        "outside": [0] * size,
        "boundary": {"both": [2] * size, "predicted": [4] * size, "labelled": [4] * size},
        "boundary_ratio": 0.02,
        "calibration": {"count": [20.0], "confidence": [18.0], "right": [19.0]},
        "num_uncalibrated": 0,
        "worst": [one],
        "best": [],
        **changes,
    }
    speed = {
        "seconds_per_image": 0.05,
        "waiting_per_image": 0.001,
        "batch_size": 1,
        "processes": 2,
        "peak_memory": 2**30,
    }
    return {
        "phase": "test", "checkpoint": "/x/iter_4.pth", "tta": False, "date": "2026-01-01", "result": found,
        "speed": speed, "environment": {"PyTorch": "2.15"},
    }  # fmt: skip


def write(folder, content, name="report.json"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))
    return folder


def test_scores_come_from_the_counts(tmp_path):
    found = read_run(write(tmp_path / "wörk #1", result()))
    scores = found.evaluation.classes
    assert [c.iou for c in scores] == pytest.approx([10 / 11, 9 / 10]) and [c.accuracy for c in scores] == [1, 0.9]
    assert [c.boundary_iou for c in scores] == pytest.approx([2 / 6] * 2) and [c.share for c in scores] == [0.5, 0.5]
    assert found.evaluation.accuracy == 0.95 and found.evaluation.calibration.error == pytest.approx(0.05)
    assert found.evaluation.subject == "test of iter_4.pth on 2026-01-01" and found.name == "wörk #1"
    assert found.speed["network and metrics"] == "50.0 ms an image, 20.00 images a second"
    assert found.speed["processes"].startswith("2") and found.speed["memory of the process, at most"] == "1,024 MiB"
    assert found.training is None and found.config is None and found.environment == {"PyTorch": "2.15"}


def test_a_class_that_is_nowhere_has_no_score(tmp_path):
    content = result(("a", "b", "c"))
    content["result"]["confusion"][2][2] = 0
    content["result"]["boundary"] = {"both": [2, 2, 0], "predicted": [4, 4, 0], "labelled": [4, 4, 0]}
    last = read_run(write(tmp_path, content)).evaluation.classes[2]
    assert (last.iou, last.accuracy, last.boundary_iou, last.share) == (None, None, None, 0)
    nothing = result(("a",), confusion=[[0]], calibration={"count": [0.0], "confidence": [0.0], "right": [0.0]})
    assert "–" in write_report(write(tmp_path, nothing)).read_text()


def test_where_there_was_no_report_the_scores_of_the_test_are_shown(tmp_path):
    rows = {"a": {"IoU": 50.0, "Acc": 60.0}, "b": {"IoU": None, "Acc": None}}
    write(tmp_path, {"num_images": 7, "per_class": rows, "tta": True}, "metrics_tta.json")
    found = read_run(tmp_path).evaluation
    assert [c.iou for c in found.classes] == [0.5, None] and found.mean("iou") == 0.5 and found.num_images == 7
    assert "with test-time augmentation" in found.subject
    assert "Only scores are left" in write_report(tmp_path).read_text()


def test_scores_of_a_test_are_numbers_or_the_file_is_damaged(tmp_path):
    rows = {"a": {"IoU": float("nan"), "Acc": 60.0}}
    write(tmp_path, {"num_images": 7, "per_class": rows}, "metrics.json")
    assert read_run(tmp_path).evaluation.classes[0].iou is None and "nan%" not in write_report(tmp_path).read_text()
    for content in ({"num_images": "<b>7</b>", "per_class": rows}, {"per_class": {"a": {"IoU": "<b>", "Acc": 1}}}):
        write(tmp_path, content, "metrics.json")
        with pytest.raises(DataError, match="metrics.json is damaged"):
            write_report(tmp_path)


def test_the_config_of_the_training_is_preferred(tmp_path):
    write(tmp_path, result())
    (tmp_path / "x_test.py").write_text("of_test = 1")
    assert read_run(tmp_path).config == "of_test = 1"
    (tmp_path / "x.py").write_text("of_training = 1")
    shutil.copy(tmp_path / "x_test.py", tmp_path / "y_test.py")
    assert read_run(tmp_path).config == "of_training = 1"


def test_the_command_compares_two_runs(tmp_path, capsys):
    new, old = write(tmp_path / "new", result()), write(tmp_path / "old", result(("b", "z")))
    out = tmp_path / "some where" / "page.html"
    assert main(["report", str(new), "--against", str(old), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    text = out.read_text()
    assert "compared with <strong>old</strong>" in text and "1 of 2 classes are not in the other run" in text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "report.json is damaged"),
        ("[]", "no JSON object"),
        ({"phase": "test"}, "report.json is damaged .KeyError"),
        (result(confusion=[[1, 2]]), "report.json is damaged"),
        (result(worst=[{"path": "x"}]), "report.json is damaged"),
        (result(boundary=None), "report.json is damaged"),
        (result(calibration={"count": [1], "confidence": [float("nan")], "right": [1]}), "report.json is damaged"),
        (result(calibration={"count": [1, 2], "confidence": [1], "right": [1]}), "report.json is damaged"),
        (result(palette=[[1, 2]] * 2), "report.json is damaged"),
    ],
)
def test_damaged_data_are_named(tmp_path, content, said):
    (tmp_path / "report.json").write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(DataError, match=said):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_folders_without_a_run(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        write_report(tmp_path / "none")
    with pytest.raises(DataError, match="neither a log of a training"):
        write_report(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_report(write(tmp_path / "run", result()), out=tmp_path / "file" / "page.html")
