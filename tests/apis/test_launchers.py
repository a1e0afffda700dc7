"""Real starts of two processes, in which one fails: how soon all have ended, and what the user reads."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_run
import torch
from several_processes import free_port

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")]

LIMIT = 550  # s; left alone, the others would wait for half an hour
FAULTS = """
import os, signal
from pathlib import Path
from mmengine.hooks import Hook
from gcseg.registry import HOOKS

@HOOKS.register_module()
class Fault(Hook):
    def __init__(self, kind, note):
        self.kind, self.note = kind, Path(note)

    def after_train_iter(self, runner, **kwargs):
        if os.environ["RANK"] == "1" and runner.iter == 2 and not self.note.exists():
            self.note.touch()
            if self.kind == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.kind == "error":
                raise RuntimeError("no luck in iteration 3")
"""
CONFIG = """
custom_imports = dict(imports=["faults_of_this_test"], allow_failed_imports=False)
custom_hooks = [dict(type="Fault", kind="{kind}", note="{note}")]
default_hooks["checkpoint"]["save_best"] = None
train_dataloader["num_workers"] = 2
train_cfg["max_iters"] = 6
train_cfg["val_interval"] = 100
"""


@pytest.fixture
def make(tmp_path):
    """A config of a run in which the second process meets a fault in its third iteration."""
    config = tiny_run.write(tmp_path / "data")
    (config.parent / "faults_of_this_test.py").write_text(FAULTS)

    def write(kind):
        text = CONFIG.replace("{kind}", kind).replace("{note}", str(tmp_path / "fault"))
        config.write_text(config.read_text() + text)
        if kind == "data":
            image = config.parent / "img" / "p3.jpg"
            image.write_bytes(image.read_bytes()[:400])
        return config

    return write


def environment(config, **more):
    inherited = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT")}
    return inherited | dict(
        PYTHONPATH=f"{ROOT}:{config.parent}",
        CUDA_VISIBLE_DEVICES="",
        OMP_NUM_THREADS="1",
        PYTHON=sys.executable,
        **more,
    )


def torchrun(config, folder, *options, **variables):
    env = environment(config, PORT=str(free_port()), **variables)
    yield ["bash", ROOT / "tools" / "dist_train.sh", config, "2", "--work-dir", folder, *options], env


def torchrun_on_two_machines(config, folder):
    """One process each; the second machine works in another folder."""
    port = str(free_port())
    for node in range(2):
        env = environment(config, PORT=port, NNODES="2", NODE_RANK=str(node), MASTER_ADDR="127.0.0.1")
        yield ["bash", ROOT / "tools" / "dist_train.sh", config, "1", "--work-dir", folder], env


def slurm(config, folder):
    """What srun does; nobody ends a process because another has ended."""
    port = str(free_port())
    for rank in range(2):
        variables = dict(SLURM_PROCID=rank, SLURM_LOCALID=rank, SLURM_NTASKS=2, SLURM_NODELIST="here", RANK=rank)
        env = environment(
            config, MASTER_PORT=port, MASTER_ADDR="127.0.0.1", **{k: str(v) for k, v in variables.items()}
        )
        yield [sys.executable, ROOT / "tools" / "train.py", config, "--work-dir", folder, "--launcher", "slurm"], env


def run(commands, tmp_path):
    """Exit codes, what each process wrote, and the times at which they ended."""
    files = [tmp_path / f"said_{i}.txt" for i, _ in enumerate(commands)]
    running = []
    for file, (command, env) in zip(files, commands, strict=True):
        with file.open("w") as out:
            running.append(subprocess.Popen(command, env=env, stdout=out, stderr=out, cwd=tmp_path, process_group=0))
    ended: dict[int, float] = {}
    limit = time.monotonic() + LIMIT
    try:
        while len(ended) < len(running) and time.monotonic() < limit:
            for i, process in enumerate(running):
                if process.poll() is not None:
                    ended.setdefault(i, time.time())
            time.sleep(0.05)
    finally:
        for process in running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    said = "\n".join(f.read_text() for f in files)
    assert len(ended) == len(running), f"still running after {LIMIT} s:\n{said[-3000:]}"
    return [p.returncode for p in running], said, list(ended.values())


@pytest.mark.parametrize("kind", ["data", "error", "killed"])
@pytest.mark.parametrize("launcher", [torchrun, torchrun_on_two_machines, slurm])
def test_a_fault_of_one_process_ends_all(make, tmp_path, launcher, kind):
    codes, said, times = run(list(launcher(make(kind), tmp_path / "run")), tmp_path)
    began = (tmp_path / "fault").stat().st_mtime if kind != "data" else min(times)
    print(f"{launcher.__name__}, {kind}: {max(times) - began:.1f} s")
    assert all(codes)
    ours = [line for line in said.splitlines() if line.startswith("gcseg: ")]
    if kind == "data":
        assert any("failed: DataError" in line and "p3.jpg" in line for line in ours)
    elif kind == "error":
        assert any("rank 1 of 2" in line and "RuntimeError: no luck in iteration 3" in line for line in ours)
    else:
        # torchrun, on the same machine, may be sooner than the process that is left.
        assert any("rank 0 of 2" in line and "killed, or out of memory" in line for line in ours) or "SIGKILL" in said


def test_torchrun_starts_a_run_again_that_lost_a_process(make, tmp_path):
    folder = tmp_path / "run"
    ((code,), said, _) = run(list(torchrun(make("killed"), folder, "--resume", MAX_RESTARTS="1")), tmp_path)
    assert code == 0, said[-3000:]
    assert (tmp_path / "fault").exists() and (folder / "iter_6.pth").is_file()
    logs = sorted(folder.glob("*/*.log"))
    assert len(logs) == 2 and "resumed epoch: 0, iter: 2" in logs[1].read_text()
