"""Commands and tools that take CONFIG CHECKPOINT take a checkpoint alone, which carries its config."""

import json
import os

import pytest
import tiny_run
import torch
from mmengine.config import Config

from gcseg import cli
from gcseg.apis import init_model
from gcseg.config import load_config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A config, and a checkpoint as a training leaves it."""
    folder = tmp_path_factory.mktemp("trained")
    config = tiny_run.write(folder / "data")
    cfg = load_config(config, {"work_dir": str(folder / "elsewhere"), "load_from": "gone.pth"})
    state = init_model(config, device="cpu").state_dict()
    torch.save({"state_dict": state, "meta": {"cfg": cfg.pretty_text}}, folder / "iter_4.pth")
    return config, folder / "iter_4.pth"


def run(capsys, *arguments):
    assert cli.main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_test(trained, tmp_path, monkeypatch, capsys):
    config, checkpoint = trained
    monkeypatch.chdir(tmp_path)
    alone = run(capsys, "test", checkpoint)
    assert os.path.samefile(alone["file"], "work_dirs/iter_4/metrics.json")
    both = run(capsys, "test", config, "--work-dir", "both", checkpoint)  # options may stand between the two
    assert alone["metrics"] == both["metrics"] and alone["num_images"] == both["num_images"] == 6
    changed = run(capsys, "test", checkpoint, "--work-dir", "w", "--cfg-options", "test_dataloader.dataset.indices=2")
    assert changed["num_images"] == 2
    assert not (checkpoint.parent / "elsewhere").exists()


def test_a_speed_and_an_export(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    few = ["--shape", "32", "--repeats", "1", "--warmup", "1", "--device", "cpu"]
    assert run(capsys, "benchmark", trained[1], *few)["images_per_second"] > 0
    run(capsys, "export", trained[1], "--format", "torchscript", "--shape", "32")
    assert os.listdir() == ["iter_4.ts"]


def test_what_is_missing_is_said(trained, tmp_path, capsys):
    config, checkpoint = trained
    torch.save(torch.load(checkpoint)["state_dict"], tmp_path / "bare.pth")
    for command, *options in (["test"], ["export", "--format", "torchscript"]):
        assert cli.main([command, str(config), *options]) == 2
        assert "tiny.py: no checkpoint is given; give one as well, or one alone" in capsys.readouterr().err
        assert cli.main([command, str(tmp_path / "bare.pth"), *options]) == 2
        assert "bare.pth: carries no config (only mmengine's" in capsys.readouterr().err
        assert cli.main([command, str(checkpoint), str(config), *options]) == 2
        assert "the config comes first, then the checkpoint" in capsys.readouterr().err
        with pytest.raises(SystemExit, match="2"):
            cli.main([command])
        assert "required: config" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tool", "work", "before", "after"),
    [
        ("deployment/latency.py", "gcseg.export.measure_latency", [], []),
        ("deployment/quantize.py", "gcseg.export.quantize_model", [], []),
        ("analysis_tools/confusion_matrix.py", "gcseg.analysis.confusion_of_checkpoint", [], []),
        ("analysis_tools/visualization_cam.py", "gcseg.apis.init_model", ["street.jpg"], ["--classes", "left"]),
    ],
)
def test_a_tool(trained, monkeypatch, call, tool, work, before, after):
    def note(config, checkpoint, *args, **options):
        noted.append((config, checkpoint, [each for each in (*args, *options.values()) if isinstance(each, dict)]))
        raise KeyboardInterrupt

    noted = []
    monkeypatch.setattr(work, note)
    config, checkpoint = map(str, trained)
    changed = ["--cfg-options", "model.decode_head.channels=4"]
    assert call(tool, *before, checkpoint, *after, *changed)[0] == 130
    option = ["--checkpoint"] if "confusion" in tool else []
    assert call(tool, *before, config, *option, checkpoint, *after, *changed)[0] == 130
    (alone, _, none), (both, _, options) = noted
    assert [entry[1] for entry in noted] == [checkpoint] * 2
    assert isinstance(alone, Config) and alone.model.decode_head.channels == 4 and none == []
    assert both == config and options == [{"model.decode_head.channels": 4}]
