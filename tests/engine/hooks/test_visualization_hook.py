from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from PIL import Image

from gcseg.registry import HOOKS
from gcseg.structures import SegDataSample
from gcseg.utils import DataError, HardwareError
from gcseg.visualization import SegLocalVisualizer

META = dict(classes=("a", "b"), palette=[[200, 0, 0], [0, 100, 50]])


def sample(path):
    out = SegDataSample(metainfo=dict(img_path=str(path)))
    out.gt_sem_seg = PixelData(data=torch.zeros(1, 16, 24, dtype=torch.int64))
    out.pred_sem_seg = PixelData(data=torch.ones(1, 16, 24, dtype=torch.int64))
    return out


@pytest.fixture
def run(tmp_path):
    """Two photographs, a runner with a visualizer that writes to tmp_path/show, and what was written there."""
    for name in ("one", "two"):
        Image.new("RGB", (24, 16), (10, 20, 30)).save(tmp_path / f"{name}.png")
    visualizer = SegLocalVisualizer(
        vis_backends=[dict(type="LocalVisBackend")], save_dir=str(tmp_path / "show"), alpha=1, **META
    )
    return SimpleNamespace(
        runner=SimpleNamespace(visualizer=visualizer, iter=0),
        samples=[sample(tmp_path / "one.png"), sample(tmp_path / "two.png")],
        pictures=lambda: sorted(tmp_path.glob("show/vis_data/vis_image/*")),
    )


def build(**kwargs):
    return HOOKS.build(dict(type="SegVisualizationHook", **kwargs))


def test_testing_paints_every_sample_beside_photograph_and_truth(run):
    hook = build(draw=True)
    hook.before_test(run.runner)
    hook.after_test_iter(run.runner, 0, None, run.samples)
    assert [p.name for p in run.pictures()] == ["test_one_1.png", "test_two_2.png"]
    row = np.asarray(Image.open(run.pictures()[0]))[28]
    assert row[12].tolist() == [10, 20, 30]
    assert row[30 + 12].tolist() == META["palette"][0]
    assert row[60 + 12].tolist() == META["palette"][1]


def test_validating_paints_the_first_sample_when_due(run):
    hook = build(draw=True, interval=2)
    for batch in range(4):
        hook.after_val_iter(run.runner, batch, None, run.samples)
    assert [p.name for p in run.pictures()] == ["val_one_0.png", "val_one_2.png"]


def test_off_by_default(run):
    hook = build()
    assert (hook.draw, hook.interval, hook.show, hook.wait_time, hook.backend_args) == (False, 50, False, 0.0, None)
    hook.after_val_iter(run.runner, 0, None, run.samples)
    hook.after_test_iter(run.runner, 0, None, run.samples)
    assert run.pictures() == []


def test_showing_alone_stores_nothing_and_saving_can_be_asked_for(run, monkeypatch):
    monkeypatch.setattr("gcseg.visualization.display.require_display", lambda: None)
    monkeypatch.setattr("gcseg.visualization.local_visualizer.require_display", lambda: None)
    shown = []
    monkeypatch.setattr(SegLocalVisualizer, "show", lambda self, picture, **kwargs: shown.append(kwargs))
    build(draw=True, show=True, wait_time=2).after_test_iter(run.runner, 0, None, run.samples[:1])
    assert shown == [dict(win_name="test_one", wait_time=2)]
    assert run.pictures() == []
    build(draw=True, show=True, save=True).after_test_iter(run.runner, 0, None, run.samples[:1])
    assert len(run.pictures()) == 1


def test_a_foreign_visualizer_gets_add_datasample(run):
    calls = []
    run.runner.visualizer = SimpleNamespace(
        add_datasample=lambda name, image, **kwargs: calls.append((name, kwargs["step"]))
    )
    build(draw=True).after_test_iter(run.runner, 0, None, run.samples)
    assert calls == [("test_one", 1), ("test_two", 2)]


def test_errors(run, monkeypatch, tmp_path):
    with pytest.raises(DataError, match="img_path"):
        build(draw=True).after_test_iter(run.runner, 0, None, [SegDataSample()])
    monkeypatch.setattr("sys.platform", "linux")
    for key in ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND"):
        monkeypatch.delenv(key, raising=False)
    with pytest.raises(HardwareError, match="--show-dir"):
        build(draw=True, show=True)
