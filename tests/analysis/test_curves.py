import json
import sys
from pathlib import Path

import pytest

from gcseg.analysis import format_summary, plot_logs, read_log
from gcseg.analysis.curves import smoothed
from gcseg.utils import ConfigError

sys.path.insert(0, str(Path(__file__).parent))
from log_files import trained, validated, write_log


@pytest.fixture
def resumed(tmp_path):
    """Killed at 150, resumed from 100; the second start was killed in the middle of a line."""
    first = [trained(50, 3.0), trained(100, 2.0), validated(100, 10.0), trained(150, 1.5), validated(150, 99.0)]
    write_log(tmp_path / "run", "20260101_000000", first)
    second = [trained(125, 1.0), validated(150, 20.0), trained(175, float("nan"))]
    write_log(tmp_path / "run", "20260102_000000", second, end='{"lr": 0.1, "lo')
    return tmp_path / "run"


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
