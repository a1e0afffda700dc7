import json

import pytest

from gcseg.analysis import format_summary, plot_logs, read_log
from gcseg.analysis.curves import smoothed
from gcseg.utils import ConfigError, DataError


def write(work_dir, start, rows, end=""):
    file = work_dir / start / "vis_data" / "scalars.json"
    file.parent.mkdir(parents=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows) + end)
    return file


def train(step, loss):
    return {"lr": 0.1, "loss": loss, "time": 1.0, "iter": step, "step": step}


def val(step, score):
    return {"mIoU": score, "time": 0.1, "step": step}


@pytest.fixture
def resumed(tmp_path):
    """Killed at 150, resumed from 100; the second start was killed in the middle of a line."""
    first = [train(50, 3.0), train(100, 2.0), val(100, 10.0), train(150, 1.5), val(150, 99.0)]
    write(tmp_path / "run", "20260101_000000", first)
    second = [train(125, 1.0), train(175, float("nan"))]
    write(tmp_path / "run", "20260102_000000", [*second, val(150, 20.0)], end='{"lr": 0.1, "lo')
    return tmp_path / "run"


def test_a_resumed_run_is_one_run(resumed):
    log = read_log(resumed)
    assert log.name == "run"
    assert [step for step, _ in log.curve("loss")] == [50, 100, 125, 175]
    assert log.curve("mIoU") == [(100, 10.0), (150, 20.0)]
    assert log.curve("val/time") == [(100, 0.1), (150, 0.1)] and len(log.curve("time")) == 4
    found = log.summary(["loss", "mIoU"])
    assert found["loss"]["count"] == 4 and found["loss"]["low"] == 1.0 and found["loss"]["low_step"] == 125
    assert found["mIoU"]["high"] == 20.0 and found["mIoU"]["high_step"] == 150


def test_a_start_from_the_beginning_replaces_all(resumed):
    write(resumed, "20260103_000000", [train(50, 5.0), val(50, 1.0)])
    log = read_log(resumed)
    assert log.curve("loss") == [(50, 5.0)] and log.curve("mIoU") == [(50, 1.0)]


def test_what_is_no_log_is_named(resumed, tmp_path):
    with pytest.raises(ConfigError, match="mIou.*Did you mean 'mIoU'"):
        read_log(resumed).curve("mIou")
    with pytest.raises(DataError, match=r"scalars\.json"):
        read_log(tmp_path / "nothing")
    file = write(tmp_path / "bad", "a", [train(1, 1.0)], end="no json\n" + json.dumps(train(2, 1.0)))
    with pytest.raises(DataError, match="line 2"):
        read_log(file)


def test_smoothing():
    assert smoothed([2.0] * 5, 0.9) == pytest.approx([2.0] * 5)
    assert smoothed([1.0, 3.0], 0.5) == pytest.approx([1.0, (0.25 * 1 + 0.5 * 3) / 0.75])
    assert smoothed([4.0, 2.0], 0) == [4.0, 2.0]
    with pytest.raises(ConfigError, match="below 1"):
        smoothed([1.0], 1)


def test_the_tool_prints_and_draws(resumed, tmp_path, run_tool, capsys):
    pytest.importorskip("matplotlib")
    out = tmp_path / "curves.svg"
    assert run_tool("analyze_logs", resumed, resumed, "--legend", "a", "b", "--keys", "loss", "mIoU", "--out", out) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == format_summary([read_log(resumed, "a"), read_log(resumed, "b")], ["loss", "mIoU"]).splitlines()
    assert lines[2].split() == ["a", "mIoU", "2", "20", "10", "100", "20", "150"]
    assert out.read_text().lstrip().startswith("<?xml")
    assert run_tool("analyze_logs", resumed, "--json", "--keys", "loss") == 0
    assert json.loads(capsys.readouterr().out)[0]["curves"]["mIoU"] == [[100, 10.0], [150, 20.0]]
    assert run_tool("analyze_logs", resumed, "--keys", "losss") == 2
    assert "Did you mean 'loss'" in capsys.readouterr().err


def test_every_key_and_run_is_drawn(resumed, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    kept = []
    monkeypatch.setattr("gcseg.analysis.curves.save_figure", lambda figure, path: kept.append(figure))
    plot_logs([read_log(resumed, "a"), read_log(resumed, "b")], ["loss", "mIoU"], tmp_path / "x.png", smooth=0.5)
    panels = kept[0].axes
    assert [line.get_ydata()[1] for line in panels[0].lines[:2]] == pytest.approx([2.0, (0.25 * 3 + 0.5 * 2) / 0.75])
    assert [axes.get_title() for axes in panels] == ["loss", "mIoU"]
    assert [line.get_label() for line in panels[1].lines] == ["a", "b"]
    assert panels[1].lines[0].get_xydata().tolist() == [[100, 10], [150, 20]]


def test_without_matplotlib_the_error_says_what_to_install(resumed, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match="pip install matplotlib"):
        plot_logs([read_log(resumed)], ["loss"], tmp_path / "x.png")
