"""What the Dockerfile copies is enough to build gcseg from, and what its OpenCV is good for; no docker is needed."""

import argparse
import fnmatch
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gcseg.cli import run_guarded

ROOT = Path(__file__).resolve().parents[1]


def is_kept(path, patterns):
    """Whether docker copies a path: the last pattern that matches it or a folder above it decides."""
    kept = True
    for pattern in patterns:
        name = pattern.removeprefix("!").removeprefix("**/")
        parts = path.parts if "**/" in pattern else path.parts[:1]
        if any(fnmatch.fnmatch(part, name) for part in parts):
            kept = pattern.startswith("!")
    return kept


def test_the_package_of_the_image_is_whole(tmp_path):
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    # Other folders are not looked into: tests that run at the same time may remove what is there.
    tops = [p for p in ROOT.iterdir() if is_kept(p.relative_to(ROOT), patterns)]
    below = [p for top in tops for p in (top, *top.rglob("*"))]
    copied = [p for p in below if p.is_file() and is_kept(p.relative_to(ROOT), patterns)]
    for file in copied:
        target = tmp_path / "src" / file.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    assert "COPY . /src/gcseg" in (ROOT / "Dockerfile").read_text()
    assert not {"tests", "docs", ".git", "build"} & {p.name for p in (tmp_path / "src").iterdir()}
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path / "built")]
    done = subprocess.run(command, cwd=tmp_path / "src", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    kinds = {".py", ".css", ".js", ".typed"}
    expected = {p.relative_to(ROOT) for p in (ROOT / "gcseg").rglob("*") if p.suffix in kinds}
    expected |= {"gcseg" / p.relative_to(ROOT) for p in (ROOT / "configs").rglob("*.py")}
    built = {p.relative_to(tmp_path / "built") for p in (tmp_path / "built").rglob("*")}
    assert len(expected) > 300 and not sorted(expected - built)


def test_an_opencv_without_its_libraries_says_what_to_install(tmp_path, monkeypatch, capsys):
    """As ``opencv-python`` fails on a server: its package loads a binary module, which misses a library."""
    (tmp_path / "cv2").mkdir()
    (tmp_path / "cv2" / "__init__.py").write_text("raise ImportError('libxcb.so.1: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    assert run_guarded(lambda _: __import__("cv2") and 0, argparse.Namespace()) == 2
    message = capsys.readouterr().err
    assert "libxcb.so.1" in message and "--no-deps opencv-python-headless" in message
    with pytest.raises(ImportError, match="no_such"):
        run_guarded(lambda _: __import__("no_such"), argparse.Namespace())
