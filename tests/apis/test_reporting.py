"""`--report` of training and testing: the page, and what it costs not to ask for it."""

import json
import re
import sys

import pytest
import tiny_run
import torch

from gcseg.apis.test import test as evaluate
from gcseg.apis.train import train
from gcseg.cli import main
from gcseg.utils import ConfigError


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A config, and the folder of a training with a report; its name is unusual."""
    folder = tmp_path_factory.mktemp("tiny") / "Straße"
    config, work_dir = tiny_run.write(folder), folder / "work #1"
    assert main(["train", str(config), "--work-dir", str(work_dir), "--report"]) == 0
    return config, work_dir


def data_of(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(), re.S)[1])


def test_a_training_is_shown_with_its_last_validation(trained):
    _, work_dir = trained
    content = json.loads((work_dir / "report.json").read_text())
    assert content["phase"] == "validation" and content["iteration"] == 4 and content["result"]["num_images"] == 6
    scalars = [json.loads(line) for line in next(work_dir.glob("*/vis_data/scalars.json")).read_text().splitlines()]
    charts = {chart["id"]: chart["series"] for chart in data_of(work_dir / "report.html")["charts"]}
    losses = {s["name"]: s for s in charts["loss"]}
    assert losses["loss"]["steps"] == [1, 2, 3, 4]
    assert losses["loss"]["values"] == pytest.approx([s["loss"] for s in scalars if "loss" in s], rel=1e-4)
    assert "decode.loss_ce" in losses and charts["rate"][0]["name"] == "lr"
    assert {s["name"]: s["steps"] for s in charts["scores"]}["mIoU"] == [2, 4]
    assert content["metrics"]["mIoU"] == [s["mIoU"] for s in scalars if "mIoU" in s][-1]


def test_a_test_is_shown_as_its_metrics_say(trained, tmp_path):
    config, work_dir = trained
    page = tmp_path / "pages" / "test.html"
    metrics = evaluate(config, work_dir / "iter_4.pth", work_dir=tmp_path, report=page, amp=False)
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["checkpoint"].endswith("iter_4.pth") and content["phase"] == "test"
    assert content["metrics"]["mIoU"] == pytest.approx(metrics["mIoU"])
    confusion = torch.tensor(content["result"]["confusion"]).double()
    iou = confusion.diagonal() / (confusion.sum(0) + confusion.sum(1) - confusion.diagonal())
    assert metrics["mIoU"] == pytest.approx(100 * float(iou.mean()))
    calibration = content["result"]["calibration"]
    assert sum(calibration["count"]) == confusion.sum() and sum(calibration["right"]) == confusion.trace()
    assert content["speed"]["seconds_per_image"] > 0 and content["speed"]["peak_memory"] > 2**20
    assert content["environment"]["PyTorch"] == torch.__version__
    shown = content["result"]["worst"] + content["result"]["best"]
    assert len(shown) == 6 and all(picture["photograph"] for picture in shown)
    assert f"<dd>{metrics['mIoU']:.1f}</dd>" in page.read_text() and not (tmp_path / "report.html").exists()


def test_test_time_augmentation_has_no_probabilities(trained, tmp_path):
    config, work_dir = trained
    evaluate(config, work_dir / "iter_4.pth", work_dir=tmp_path, report=True, tta=True)
    assert json.loads((tmp_path / "report.json").read_text())["result"]["calibration"] is None
    text = (tmp_path / "report.html").read_text()
    assert "nothing can be said of their calibration" in text and "with test-time augmentation" in text


def test_nothing_is_collected_when_nobody_asked(trained, tmp_path, monkeypatch):
    config, work_dir = trained
    for name in ("gcseg.analysis.report", "gcseg.visualization.report.page"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    made = []
    monkeypatch.setattr("gcseg.engine.hooks.ReportHook.__init__", lambda *a, **k: made.append(a))
    monkeypatch.setattr("gcseg.structures.SegDataSample.seg_logits", property(lambda self: made.append(self)))
    evaluate(config, work_dir / "iter_4.pth", work_dir=tmp_path)
    train(config, work_dir=tmp_path, cfg_options={"train_cfg.max_iters": 1})
    assert made == [] and not list(tmp_path.glob("report.*"))
    assert not {"gcseg.analysis.report", "gcseg.visualization.report.page"} & set(sys.modules)


def test_a_place_that_cannot_be_written_to_is_named_before_the_work(trained, tmp_path):
    config, work_dir = trained
    with pytest.raises(ConfigError, match=r"report .+: cannot be written: it is a folder; name another file"):
        evaluate(config, work_dir / "iter_4.pth", work_dir=tmp_path, report=tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        train(config, work_dir=tmp_path, report=tmp_path / "file" / "page.html")
    from gcseg.analysis.report import write_report

    text = config.read_text()
    for write in (lambda: train(config, work_dir=tmp_path, report=config), lambda: write_report(work_dir, out=config)):
        with pytest.raises(ConfigError, match=r"tiny\.py; give a name that ends in \.html"):
            write()
    assert config.read_text() == text and not list(tmp_path.glob("iter_*.pth"))


def test_without_labels_there_is_nothing_to_report(trained, tmp_path):
    config, work_dir = trained
    options = {"test_evaluator": dict(type="IoUMetric", format_only=True, output_dir=str(tmp_path / "out"))}
    with pytest.raises(ConfigError, match="format_only"):
        evaluate(config, work_dir / "iter_4.pth", work_dir=tmp_path, report=True, cfg_options=options)


def test_a_full_disk_costs_the_report_and_not_the_test(trained, tmp_path, monkeypatch):
    config, work_dir = trained
    (tmp_path / "report.json").write_text("of an earlier test")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gcseg.engine.hooks.report_hook.write_atomically", full)
    metrics = evaluate(config, work_dir / "iter_4.pth", work_dir=tmp_path, report=True)
    assert "mIoU" in metrics and not (tmp_path / "report.json").exists()
    assert "Only scores are left" in (tmp_path / "report.html").read_text()
    assert "No space left on device; the report will lack this test" in next(tmp_path.glob("*/*.log")).read_text()


def test_pictures_of_validations_reach_tensorboard(tmp_path):
    config = tiny_run.write(tmp_path / "data")
    hook = {"default_hooks.visualization.draw": True, "default_hooks.visualization.interval": 3}
    train(config, work_dir=tmp_path / "run", cfg_options=hook)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(next((tmp_path / "run").glob("*/vis_data/events*"))))
    events.Reload()
    tags = events.Tags()["images"]
    # Validations at 2 and 4, of six images each; every third of the steps 2 to 7 and 4 to 9.
    found = {tag: [e.step for e in events.Images(tag)] for tag in tags}
    assert found == {"val_p1": [3], "val_p4": [6], "val_p2": [6], "val_p5": [9]}
    image = events.Images("val_p1")[0]
    assert image.width > 3 * 48 and image.height > 40  # photograph, truth and prediction side by side, and a legend
