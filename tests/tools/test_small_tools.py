import json
from pathlib import Path

import pytest
import torch

NAME = "gcnet_r50-d8_4xb4-20k_voc12aug-512x512"


def test_get_flops(call):
    code, out, _ = call("analysis_tools/get_flops.py", NAME, "--shape", 64)
    assert code == 0
    assert "input 64x64" in out
    assert "decode_head" in out


def test_get_flops_for_programs(call):
    code, out, _ = call("analysis_tools/get_flops.py", NAME, "--shape", 64, "--json")
    found = json.loads(out)
    assert code == 0 and found["shape"] == [64, 64]
    assert found["total_params"] == sum(found["params"].values()) and found["flops"]["backbone"] > 10**9


def test_print_config(call):
    code, out, _ = call("misc/print_config.py", NAME, "--cfg-options", "optim_wrapper.optimizer.lr=0.125")
    assert code == 0
    assert "lr=0.125" in out


def test_publish_model(call, tmp_path):
    torch.save(dict(state_dict=dict(a=torch.zeros(2))), tmp_path / "in.pth")
    code, out, _ = call("misc/publish_model.py", tmp_path / "in.pth", tmp_path / "out.pth")
    assert code == 0
    assert Path(out.strip().splitlines()[-1]).is_file()


TOOLS = Path(__file__).parents[2] / "tools"
SCRIPTS = sorted(str(file.relative_to(TOOLS)) for file in TOOLS.glob("*/*.py") if "run_guarded" in file.read_text())


@pytest.mark.parametrize("tool", SCRIPTS)
def test_a_misspelt_option_is_answered_with_the_right_one(tool, call, capsys):
    assert len(SCRIPTS) > 12
    with pytest.raises(SystemExit, match="2"):
        call(tool, "--hepl")
    said = capsys.readouterr().err
    assert "Did you mean --help instead of --hepl?" in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("tool", "args", "message"),
    [
        ("misc/print_config.py", ["gcnet_r50"], "no config file"),
        ("misc/publish_model.py", ["gone.pth", "out.pth"], "gone.pth"),
        ("analysis_tools/get_flops.py", [NAME, "--shape", "0"], "height and width"),
    ],
)
def test_errors_are_one_paragraph(call, tool, args, message):
    code, _, err = call(tool, *args)
    assert code == 2
    assert message in err
    assert err.startswith("gcseg: error: ")
    assert len(err.strip().splitlines()) == 1
