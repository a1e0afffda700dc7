import argparse
import errno
import json
import os
import runpy
import shlex
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from gcseg import cli
from gcseg.apis.outcome import Scores
from gcseg.utils import ConfigError, DataError

ROOT = Path(__file__).resolve().parents[1]


def test_options_are_mmsegmentations(monkeypatch):
    calls = {}
    scores = Scores({}, Path("metrics.json"), {})
    monkeypatch.setattr("gcseg.apis.train.train", lambda *a, **k: calls.update(train=(a, k)))
    monkeypatch.setattr("gcseg.apis.outcome.training_outcome", lambda runner: scores)
    monkeypatch.setattr("gcseg.apis.test.test", lambda *a, **k: calls.update(test=(a, k)) or scores)
    options = ["--work-dir", "w", "--resume", "--amp", "--cfg-options", "a.b=1", "c=(1,[2,3])", "d=x"]
    assert cli.train_main(["cfg", *options, "--compile", "--launcher", "slurm", "--local_rank", "1"]) == 0
    expected = dict(work_dir="w", resume=True, amp=True, launcher="slurm", compile=True)
    expected.update(cfg_options={"a.b": 1, "c": (1, [2, 3]), "d": "x"}, auto_scale_lr=False, limit=None, report=False)
    assert calls["train"] == (("cfg",), expected)
    assert cli.train_main(["cfg", "--auto-scale-lr", "--limit", "3", "--report"]) == 0
    assert {"auto_scale_lr": True, "limit": 3, "report": True}.items() <= calls["train"][1].items()
    options = ["--out", "o", "--show-dir", "s", "--wait-time", "0.5", "--tta", "--amp", "--limit", "4"]
    assert cli.main(["test", "cfg", "x.pth", *options]) == 0
    (config, checkpoint), keywords = calls["test"]
    assert (config, checkpoint, keywords["out"], keywords["tta"]) == ("cfg", "x.pth", "o", True)
    assert keywords["show_dir"] == "s" and keywords["wait_time"] == 0.5 and keywords["launcher"] == "none"
    assert keywords["amp"] is True and keywords["compile"] is False and keywords["report"] is False
    assert keywords["limit"] == 4


def test_ctrl_c_that_a_library_took_for_an_error(monkeypatch, capsys):
    def train(*_, **__):
        try:
            try:
                raise KeyboardInterrupt
            except:  # noqa: E722  (as in mmengine.Config.pretty_text)
                raise SyntaxError("Failed to format the config file")  # noqa: B904
        except SyntaxError as e:
            raise ConfigError("Runner cannot be built") from e

    monkeypatch.setattr("gcseg.apis.train.train", train)
    assert cli.main(["train", "cfg"]) == 130
    assert capsys.readouterr().err == "gcseg: interrupted\n"


def test_an_error_of_the_user_is_one_paragraph(monkeypatch, capsys):
    def fail(error):
        def train(*args, **options):
            raise error

        return train

    monkeypatch.setattr("gcseg.apis.train.train", fail(ConfigError("no such thing")))
    assert cli.train_main(["cfg"]) == 2
    assert capsys.readouterr().err == "gcseg: error: no such thing\n"
    from_worker = (
        "Caught DataError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        '  File "x.py", line 1\ngcseg.utils.errors.DataError: a.png: label 11\n'
    )
    monkeypatch.setattr("gcseg.apis.train.train", fail(DataError(from_worker)))
    assert cli.train_main(["cfg"]) == 2
    assert capsys.readouterr().err == "gcseg: error: a.png: label 11\n"
    monkeypatch.setattr("gcseg.apis.train.train", fail(PermissionError(13, "Permission denied", "/data/a b.png")))
    assert cli.train_main(["cfg"]) == 2
    assert capsys.readouterr().err == "gcseg: error: /data/a b.png: Permission denied\n"
    monkeypatch.setenv("GCSEG_TRACEBACK", "1")
    with pytest.raises(PermissionError):
        cli.train_main(["cfg"])
    monkeypatch.setenv("GCSEG_TRACEBACK", "0")
    monkeypatch.setattr("gcseg.apis.train.train", fail(OSError(errno.ENOSPC, "No space left on device")))
    assert cli.main(["train", "cfg"]) == 2
    assert capsys.readouterr().err == "gcseg: error: No space left on device; nothing more can be written\n"
    monkeypatch.setattr("gcseg.apis.train.train", fail(OSError("of no file")))
    with pytest.raises(OSError, match="of no file"):
        cli.train_main(["cfg"])


def test_cfg_options_without_a_value():
    with pytest.raises(ConfigError, match="key=value"):
        cli.parse_cfg_options(["lr", "0.1"])
    assert cli.parse_cfg_options(None) is None


def test_parsing_loads_no_heavy_package():
    code = "import sys; from gcseg import cli; cli.main(['zoo', 'verify', '--hepl'])"
    probe = f"try:\n    {code}\nfinally:\n    print(sorted({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=ROOT)
    assert "Did you mean --help" in done.stderr
    assert "'gcseg'" in done.stdout and not any(f"'{name}'" in done.stdout for name in ("torch", "mmengine", "numpy"))


@pytest.mark.parametrize("tool", ["train", "test"])
def test_help_loads_no_heavy_package_from_anywhere(tool, tmp_path):
    command = [sys.executable, "-X", "importtime", ROOT / "tools" / f"{tool}.py", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and "--cfg-options" in done.stdout
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "gcseg" in loaded and not loaded & {"torch", "mmengine", "mmcv", "cv2", "numpy"}


def test_configs_lists_the_published_recipes(capsys):
    assert cli.main(["configs"]) == 0
    assert "gcnet_r50-d8_4xb2-40k_cityscapes-512x1024" in capsys.readouterr().out.split()


def test_configs_are_searched(capsys):
    assert cli.main(["configs", "r101", "ade20k", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sorted(found) == [f"gcnet_r101-d8_4xb4-{n}k_ade20k-512x512" for n in (160, 80)]
    assert all(Path(file).is_file() for file in found.values())
    assert cli.main(["configs", "pspnet"]) == 2 and "pspnet" in capsys.readouterr().err


def test_without_a_command_there_is_help(capsys):
    assert cli.main([]) == 2
    assert "{train,test," in capsys.readouterr().out


@pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda command: command.name)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit):
        cli.main([command.name, "--help"])
    text = capsys.readouterr().out
    assert f"  gcseg {command.name}" in text.partition("examples:")[2] and "exit code: 0" in text
    for line in command.examples.strip().splitlines():  # the examples are words that the parser takes
        parser = argparse.ArgumentParser()
        command.fill(parser).parse_args(shlex.split(line)[2:])


def completions(line):
    """What a shell gets that asks for the words after ``line``."""
    code = "import os, sys; from gcseg import cli; cli.main([])"
    read, write = os.pipe()
    environment = dict(
        os.environ, _ARGCOMPLETE="1", COMP_LINE=line, COMP_POINT=str(len(line)), _ARGCOMPLETE_IFS="\n", COMP_TYPE="9"
    )
    command = f"exec 8>&{write} 9>/dev/null; exec {shlex.quote(sys.executable)} -c {shlex.quote(code)}"
    subprocess.run(["bash", "-c", command], env=environment, pass_fds=(write,), timeout=300)
    os.close(write)
    with open(read) as answers:
        return [word.strip() for word in answers.read().splitlines()]


def test_shells_complete_commands_options_and_recipes():
    pytest.importorskip("argcomplete", reason="completion needs argcomplete")
    assert {"train", "test", "zoo"} <= set(completions("gcseg "))
    assert completions("gcseg train --auto") == ["--auto-scale-lr"]
    assert "gcnet_r50-d8_4xb4-80k_ade20k-512x512" in completions("gcseg train gcnet_r50-d8_4xb4-8")
    assert completions("gcseg zoo verify gcnet_r50-d8_4xb4-8") == ["gcnet_r50-d8_4xb4-80k_ade20k-512x512"]


SHELL = """
eval "$(register-python-argcomplete gcseg)"
complete -p gcseg
COMP_WORDS=(gcseg export cfg weights.pth --format torch) COMP_CWORD=5 COMP_TYPE=9
COMP_LINE="${COMP_WORDS[*]}" COMP_POINT=${#COMP_LINE}
_python_argcomplete gcseg torch --format
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize("module", ["gcseg", "gcseg.cli"])
def test_the_package_is_the_command(module, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gcseg", "--version"])
    with pytest.raises(SystemExit) as left:
        runpy.run_module(module, run_name="__main__")
    assert left.value.code == 0 and capsys.readouterr().out.startswith("gcseg ")


def test_the_line_of_the_docs_completes_in_bash(tmp_path):
    pytest.importorskip("argcomplete", reason="completion needs argcomplete")
    page = (ROOT / "docs" / "user_guide" / "tools.md").read_text()
    assert 'eval "$(register-python-argcomplete gcseg)"' in page
    (tmp_path / "gcseg").write_text(
        f"#!{sys.executable}\n# PYTHON_ARGCOMPLETE_OK\nfrom gcseg.cli import main\nmain()\n"
    )
    (tmp_path / "gcseg").chmod(0o755)
    path = f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", SHELL], env=environment, capture_output=True, text=True, timeout=300)
    registered, *found = done.stdout.split("\n")
    assert "-F _python_argcomplete gcseg" in registered, done.stderr
    assert [word.strip() for word in found if word] == ["torch-export", "torchscript"]


MISSPELT = {
    "trian cfg": ["invalid choice: 'trian'", "'export'", "Did you mean train instead of trian?", "gcseg --help"],
    "train cfg --work-dri w": ["unrecognized arguments: --work-dri w", "mean --work-dir instead", "gcseg train --help"],
    "train cfg -limit 3": ["Did you mean --limit instead of -limit?"],
    "train cfg --launcher pytrch": ["--launcher: invalid choice: 'pytrch'", "Did you mean pytorch instead of pytrch?"],
    "predict net a.jpg --uot b": ["required: --out", "Did you mean --out instead of --uot?"],
    "zoo downlod x": ["'downlod'", "Did you mean download", "gcseg zoo --help"],
    "zoo list --jsn": ["Did you mean --json", "gcseg zoo list --help"],
}


@pytest.mark.parametrize("line", MISSPELT)
def test_a_misspelt_word(line, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(line.split())
    said = capsys.readouterr()
    assert end.value.code == 2 and said.out == "" and said.err.count("\n") == 1, "without the usage"
    assert all(words in said.err for words in MISSPELT[line]), said.err


def test_what_is_like_nothing_is_not_guessed_at(capsys):
    for line in ("zzz", "train cfg --qqq", "train cfg --li x"):  # the last is the beginning of an option
        with pytest.raises(SystemExit):
            cli.main(line.split())
        assert "Did you mean" not in capsys.readouterr().err


def test_a_misspelt_file(tmp_path, capsys, monkeypatch):
    for name in ("street.py", "other.py", "street.txt"):
        (tmp_path / name).touch()
    assert cli.main(["train", str(tmp_path / "stret.py")]) == 2
    assert f"Did you mean {tmp_path / 'street.py'}? " in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "stret.py"]) == 2
    assert "Did you mean street.py? " in capsys.readouterr().err


def parsers(parser):
    """A parser and those inside it."""
    yield parser
    for action in parser._actions:
        if action.nargs == argparse.PARSER:
            for inner in action.choices.values():
                yield from parsers(inner)


@pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda command: command.name)
def test_every_command_has_json(command):
    found = list(parsers(command.fill(cli.Parser())))
    assert len(found) == (4 if command.name == "zoo" else 1)
    assert all("--json" in parser.format_help() for parser in found)


@pytest.mark.parametrize("words", ["zoo --json", "zoo list --json", "zoo --json - list"])
def test_json_of_the_zoo_wherever_it_stands(words, capsys):
    assert cli.main(words.split()) == 0
    assert len(json.loads(capsys.readouterr().out)) == 16


def test_json_is_what_json_allows(tmp_path, capsys):
    from gcseg.cli.command import show

    found = {"a": float("nan"), 3: (float("inf"), 0.5), "file": tmp_path, "n": np.float32(0.25), "m": np.arange(2)}
    show(found, "text", argparse.Namespace(json="-", stdout=sys.stdout))
    said = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert said == {"a": None, "3": [None, 0.5], "file": str(tmp_path), "n": 0.25, "m": [0, 1]}


def test_a_warning_of_ours_is_a_line_for_the_user():
    lines = []

    def run(args):
        for file in (cli.__file__, warnings.__file__):
            lines.append(warnings.formatwarning(UserWarning("seven\n  of nine"), UserWarning, file, 1))

    before = warnings.formatwarning
    assert cli.run_guarded(run, argparse.Namespace()) == 0
    assert lines[0] == "gcseg: warning: seven of nine\n" and lines[1].startswith(f"{warnings.__file__}:1: UserWarning")
    assert warnings.formatwarning is before
