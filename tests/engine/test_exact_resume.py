"""A run that is killed and resumed ends with the bits of the run left alone, and logs the same losses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("killed_runs.py")


def killed(folder, **options):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(
        [sys.executable, SCRIPT, folder, json.dumps(options)], env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    return json.loads(result.stdout.splitlines()[-1])


def test_killed_twice(tmp_path):
    assert killed(tmp_path, kills=2, seed=1, workers=1)["kills"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("options", [dict(workers=0), dict(workers=1), dict(workers=4), dict(processes=2)], ids=str)
def test_killed_at_twenty_moments(tmp_path, options):
    report = killed(tmp_path, kills=20, seed=7, **options)
    assert report["kills"] >= 20
    assert report["while_writing"] > 0
    print(report)


@pytest.mark.parametrize("name", ["SIGTERM", pytest.param("SIGINT", marks=pytest.mark.slow)])
def test_stopped_by_a_signal(tmp_path, name):
    assert killed(tmp_path, kills=2, seed=3, workers=1, signal_name=name)["kills"] == 2
