import os
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[1] / "tools"
SCRIPTS = {"dist_train.sh": 2, "dist_test.sh": 3, "slurm_train.sh": 3, "slurm_test.sh": 4}


def run(script, *arguments, path="", **variables):
    environment = {**os.environ, **variables, "PATH": f"{path}:{os.environ['PATH']}"}
    return subprocess.run(["bash", TOOLS / script, *arguments], env=environment, capture_output=True, text=True)


def test_dist_scripts_pass_everything_on():
    variables = dict(PYTHON="echo", NNODES="2", NODE_RANK="1", MASTER_ADDR="10.0.0.1", PORT="1234")
    words = run("dist_train.sh", "a config.py", "4", "--amp", "--cfg-options", "a='b c'", **variables).stdout.split()
    assert words[:2] == ["-m", "torch.distributed.run"]
    assert {"--nnodes=2", "--node_rank=1", "--nproc_per_node=4"} < set(words)
    assert {"--master_addr=10.0.0.1", "--master_port=1234"} < set(words)
    assert " ".join(words).endswith("train.py a config.py --launcher pytorch --amp --cfg-options a='b c'")
    line = run("dist_test.sh", "c.py", "x.pth", "2", "--tta", PYTHON="echo").stdout
    assert line.rstrip().endswith("test.py c.py x.pth --launcher pytorch --tta") and "--nnodes=1" in line


def test_slurm_scripts_pass_everything_on(tmp_path):
    (tmp_path / "srun").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "srun").chmod(0o755)
    variables = dict(GPUS="16", GPUS_PER_NODE="8", CPUS_PER_TASK="2", SRUN_ARGS="--quiet --time=1", PYTHON="python")
    line = run("slurm_train.sh", "part", "job", "c.py", "--resume", path=tmp_path, **variables).stdout
    for word in ("-p part", "--job-name=job", "--gres=gpu:8", "--ntasks=16", "--ntasks-per-node=8", "--quiet --time=1"):
        assert word in line
    assert "--cpus-per-task=2" in line and line.rstrip().endswith("train.py c.py --launcher slurm --resume")
    line = run("slurm_test.sh", "part", "job", "c.py", "x.pth", path=tmp_path).stdout
    assert "--ntasks=4" in line and line.rstrip().endswith("test.py c.py x.pth --launcher slurm")


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_say_how_they_are_used(script):
    done = run(script, *["x"] * (SCRIPTS[script] - 1))
    assert done.returncode == 2 and done.stderr.startswith("usage:") and os.access(TOOLS / script, os.X_OK)
