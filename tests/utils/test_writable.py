"""Files that cannot be written: asked before the work, and told, in the same words everywhere."""

import argparse
import json
import os
import re

import pytest
import torch

from gcseg.analysis.report import write_report
from gcseg.cli.command import run_guarded
from gcseg.export.export import checked_target, put
from gcseg.export.publish import publish_checkpoint
from gcseg.utils import ConfigError, DataError
from gcseg.utils.writable import check_writable, writing


def test_a_file_that_can_be_written_is_not_there_afterwards(tmp_path):
    check_writable(tmp_path / "new" / "a.json")
    assert os.listdir(tmp_path) == ["new"] and os.listdir(tmp_path / "new") == []
    (tmp_path / "old.json").write_text("kept")
    check_writable(tmp_path / "old.json")
    assert (tmp_path / "old.json").read_text() == "kept"
    check_writable(os.devnull)


def test_the_name_the_reason_and_the_class(tmp_path):
    with pytest.raises(ConfigError, match=f"^{re.escape(str(tmp_path))}: cannot be written: it is a folder; name"):
        check_writable(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="^--out: cannot be written: Not a directory; name another file$"):
        check_writable(tmp_path / "file" / "below" / "a", "--out", DataError)
    with pytest.raises(ConfigError, match="^a: cannot be written: No space left on device; ") as e, writing("a"):
        raise OSError(28, "No space left on device")
    assert e.value.__cause__.errno == 28
    with pytest.raises(ValueError, match="^mine$"), writing("a"):
        raise ValueError("mine")


def test_all_say_the_same(tmp_path, capsys):
    torch.save({"state_dict": {"w": torch.ones(1)}}, tmp_path / "a.pth")
    rows = {"a": {"IoU": 50.0, "Acc": 60.0}}
    (tmp_path / "metrics.json").write_text(json.dumps({"num_images": 1, "per_class": rows}))
    below, said = tmp_path / "metrics.json" / "below", []
    for ask in (
        lambda: checked_target(below / "a.onnx", "a", ".onnx"),
        lambda: put(tmp_path / "a.pth", below / "a.onnx"),
        lambda: publish_checkpoint(tmp_path / "a.pth", below / "a.pth"),
        lambda: write_report(tmp_path, out=below / "a.html"),
    ):
        with pytest.raises(Exception, match="cannot be written") as e:
            ask()
        said.append(str(e.value))
    assert run_guarded(print, argparse.Namespace(json=str(below / "a.json"))) == 2
    said.append(capsys.readouterr().err.strip())
    assert {text.partition(": cannot")[2] for text in said} == {" be written: Not a directory; name another file"}
