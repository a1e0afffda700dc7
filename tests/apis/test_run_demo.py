import json

import pytest
import tiny_run

from gcseg.apis import demo
from gcseg.utils import ConfigError


def test_the_demo_trains_evaluates_and_paints(tmp_path, monkeypatch):
    config = tiny_run.write(tmp_path / "data")
    monkeypatch.setattr(demo, "recipes", lambda: {"tiny": tmp_path / "demo" / "tiny.py"})
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "tiny.py").write_text(config.read_text())
    options = {"train_cfg.max_iters": 2}
    metrics = demo.run_demo(tmp_path / "run", amp=False, cfg_options=options)
    written = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert written["metrics"]["mIoU"] == pytest.approx(metrics["mIoU"])
    assert written["checkpoint"].endswith("best_mIoU_iter_2.pth")
    assert len(list((tmp_path / "run" / "pictures").rglob("*.png"))) == 6
    assert (tmp_path / "run" / "report.html").is_file()


def test_without_the_recipe_the_installation_is_to_blame(monkeypatch):
    monkeypatch.setattr(demo, "recipes", dict)
    with pytest.raises(ConfigError, match="install"):
        demo.demo_recipe()
