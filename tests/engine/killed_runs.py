"""Trains in processes forked from this one, which has torch loaded already, and kills them; see test_exact_resume.py.

python killed_runs.py FOLDER OPTIONS_AS_JSON
"""

# ruff: noqa: E402, F401  (what a run needs is imported before the forks)

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

sys.path[:0] = [str(folder) for folder in Path(__file__).parents[1:3]]  # this is started as a script, too

import mmengine.runner.runner
import torch
from several_processes import free_port
from tiny_run import write

import gcseg.evaluation.metrics
import gcseg.visualization
from gcseg.apis.train import train
from gcseg.engine.train_loops import IterBasedTrainLoop

mmengine.runner.runner.collect_env = dict  # it asks compilers for their versions, for seconds

HOOKS = [
    dict(type="EMAHook", momentum=0.1),
    dict(type="EarlyStoppingHook", monitor="mIoU", rule="greater", patience=100),
]
OPTIONS = {
    "train_cfg.max_iters": 12,
    "train_cfg.val_interval": 4,
    "param_scheduler.0.end": 12,
    "default_hooks.checkpoint.interval": 3,
    "default_hooks.checkpoint.max_keep_ckpts": 2,
    "custom_hooks": HOOKS,
    "env_cfg.dist_cfg.backend": "gloo",
}


def start(config, work_dir, options, resume, processes=1):
    """A process that trains, and leads the others of its run; its number."""
    sys.stdout.flush()
    Path(f"{work_dir}.began").unlink(missing_ok=True)
    child = os.fork()
    if child:
        return child
    code, follower = 1, None
    try:
        os.setpgid(0, 0)
        if processes == 2:
            port = free_port()
            follower = os.fork()
            rank = str(int(follower == 0))
            os.environ.update(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE="2")
            os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        log = os.open(f"{work_dir}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1), os.dup2(log, 2)
        loop = IterBasedTrainLoop._run

        def run(self):
            Path(f"{work_dir}.began").touch()
            loop(self)

        IterBasedTrainLoop._run = run
        launcher = "none" if processes == 1 else "pytorch"
        train(str(config), work_dir=str(work_dir), resume=resume, cfg_options={**OPTIONS, **options}, launcher=launcher)
        code = 0
    except SystemExit as e:
        code = e.code
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        if follower:
            code = code or wait(follower)
        os._exit(code)


def wait(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def ended(child):
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def kill(child, seconds, work_dir, while_writing, number):
    """A signal to the run and its workers after so many seconds of training, or when a file is written after them.

    Returns whether the run ended by it; a run may be through already, or not yet listen.
    """
    began = Path(f"{work_dir}.began")
    while not began.exists() and not ended(child):
        time.sleep(0.002)
    end = time.monotonic() + seconds
    while time.monotonic() < end and not ended(child):
        time.sleep(0.002)
    if while_writing:
        end = time.monotonic() + 1
        while time.monotonic() < end and not any(f.name.endswith((".tmp", ".part")) for f in _files(work_dir)):
            pass
    with contextlib.suppress(ProcessLookupError):
        if number == signal.SIGKILL:
            os.killpg(child, number)
        else:
            os.kill(child, number)
    code = wait(child)
    assert code in (0, -number, 128 + number), code
    return code != 0


def _files(work_dir):
    with contextlib.suppress(FileNotFoundError):
        return list(os.scandir(work_dir))
    return []


def outcome(work_dir):
    """Everything the last checkpoint has but times, and the losses of every line of every log."""
    saved = torch.load(work_dir / "iter_12.pth", weights_only=False)
    state = {key: saved[key] for key in ("state_dict", "optimizer", "ema_state_dict", "param_schedulers")}
    hub = saved["message_hub"]
    state["info"] = {k: hub["runtime_info"][k] for k in ("samples_seen", "early_stopping", "best_score")}
    state["history"] = {k: v.data for k, v in hub["log_scalars"].items() if "time" not in k and "memory" not in k}
    lines = {}
    for file in work_dir.glob("*/vis_data/scalars.json"):
        for line in file.read_text().splitlines():
            with contextlib.suppress(ValueError):  # cut off by a kill
                entry = json.loads(line)
                key = (entry["step"], "mIoU" in entry)
                values = {k: v for k, v in entry.items() if k not in ("time", "data_time", "memory")}
                if "mIoU" in entry:
                    values.pop("iter", None)
                lines.setdefault(key, []).append(values)
    return state, lines


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if hasattr(a, "tolist"):
        return a.tolist() == b.tolist()
    return a == b or (a != a and b != b)


def differences(a, b, where="state"):
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return [d for k in a for d in differences(a[k], b[k], f"{where}.{k}")]
    return [] if same(a, b) else [where]


def main(folder, kills, seed, workers=0, signal_name="SIGKILL", processes=1):
    """Kill as often as said, resuming each time, until runs are through; compare each with the run left alone."""
    torch.set_num_threads(1)
    config = write(folder)
    options = {"train_dataloader.num_workers": workers, "train_dataloader.persistent_workers": workers > 0}
    # The run left alone always loads in its own process: the number of workers must not matter.
    assert wait(start(config, folder / "alone", {}, False, processes)) == 0, (folder / "alone.log").read_text()[-3000:]
    length = time.time() - (folder / "alone.began").stat().st_mtime
    expected, log = outcome(folder / "alone")
    assert len(log) == 15, sorted(log)
    draw, done, runs = random.Random(seed), 0, 0
    report = {"kills": 0, "runs": 0, "while_writing": 0, "seconds": round(length, 2)}
    while done < kills:
        work_dir, resume, runs = folder / f"killed{runs}", False, runs + 1
        while True:
            child = start(config, work_dir, options, resume, processes)
            resume = True
            if done >= kills or draw.random() < 0.15:
                code = wait(child)
                assert code == 0, (code, Path(f"{work_dir}.log").read_text()[-3000:])
                break
            while_writing = draw.random() < 0.4
            if not kill(child, draw.uniform(0, 1) * length, work_dir, while_writing, signal.Signals[signal_name]):
                code = 0
                break
            done += 1
            report["while_writing"] += while_writing
        found, lines = outcome(work_dir)
        assert differences(expected, found) == [], (runs, differences(expected, found)[:10])
        for key, entries in lines.items():
            assert all(same(entry, log[key][0]) for entry in entries), (runs, key, entries, log[key])
        assert lines.keys() == log.keys(), set(log) ^ set(lines)
    report.update(kills=done, runs=runs)
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), **json.loads(sys.argv[2]))
