import os
import re
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import CheckpointHook as MmengineHook

sys.path.insert(0, str(Path(__file__).parent))
from checkpoint_tools import Runner, files
from file_limit import largest_file
from several_processes import free_port

from gcseg.engine.checkpoint import install_safe_loader, load_checkpoint_file
from gcseg.engine.hooks import CheckpointHook, checkpoint_hook
from gcseg.engine.hooks.checkpoint_hook import wait_for_checkpoints
from gcseg.engine.resume import prepare_resume
from gcseg.registry import HOOKS
from gcseg.utils import CheckpointError, ConfigError

SCORES = {i: dict(mIoU=s, loss=9.0 - i) for i, s in zip(range(5, 101, 5), [3, 5, 4, 6, 6, 7, 1, 8] * 3, strict=False)}
SMALL = 2000  # bytes: no checkpoint of the runner fits


def test_it_takes_the_place_of_mmengines_under_the_same_name():
    assert HOOKS.get("CheckpointHook") is CheckpointHook and issubclass(CheckpointHook, MmengineHook)


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        dict(interval=5, by_epoch=False),
        dict(interval=5, by_epoch=False, max_keep_ckpts=2, save_best="mIoU", rule="greater"),
        dict(
            interval=10,
            by_epoch=False,
            max_keep_ckpts=1,
            save_best=["mIoU", "loss"],
            published_keys=["meta", "state_dict"],
        ),
        dict(interval=7, by_epoch=False, save_begin=20, save_last=False, filename_tmpl="at-{}.pth", save_best="auto"),
        dict(interval=2, by_epoch=True, max_keep_ckpts=2, save_best="mIoU", save_optimizer=False),
        dict(interval=-1, by_epoch=True, save_best="loss", rule="less", save_last=False),
        dict(interval=20, by_epoch=False, out_dir="elsewhere", max_keep_ckpts=3),
        dict(interval=25, by_epoch=False, max_keep_ckpts=1, file_client_args=dict(backend="disk")),
        dict(interval=25, by_epoch=False, max_keep_ckpts=1, backend_args=dict(backend="local")),
    ],
    ids=str,
)
def test_what_a_run_leaves_is_what_mmengines_hook_leaves(tmp_path, monkeypatch, options, background):
    install_safe_loader()
    left = []
    for kind, more in ((MmengineHook, {}), (CheckpointHook, dict(background=background))):
        (tmp_path / kind.__module__).mkdir()
        monkeypatch.chdir(tmp_path / kind.__module__)
        run = Runner(Path("work").absolute(), max_iters=50)
        run.run(kind(**options, **more), 50, SCORES)
        folder = Path("elsewhere" if "out_dir" in options else "", "work")
        plain = [f for f in folder.glob("[ie]*_[0-9]*[0-9].pth") if "-" not in f.name]
        newest = sorted(plain, key=lambda f: int(f.stem.partition("_")[2]))[-1:]
        hub = [load_checkpoint_file(f)["message_hub"]["runtime_info"] for f in newest]
        hub = [{k: Path(v).name if isinstance(v, str) else v for k, v in info.items()} for info in hub]
        marker = Path("work/last_checkpoint")
        kept = [re.sub("-[0-9a-f]{8}.pth", "-hash.pth", name) for name in files(folder)]
        optimizer = ["optimizer" in load_checkpoint_file(f) for f in newest]
        left.append((kept, run.records(), hub, marker.exists() and Path(marker.read_text()).name, optimizer))
    assert left[0] == left[1] and left[0][0]


@pytest.mark.parametrize("background", [False, True])
def test_nothing_is_removed_before_its_successor_stands(tmp_path, monkeypatch, background):
    run, stood = Runner(tmp_path), []
    write = checkpoint_hook.write_atomically

    def watched(path, data):
        write(path, data)
        stood.append((os.path.basename(path), set(os.listdir(tmp_path))))

    monkeypatch.setattr(checkpoint_hook, "write_atomically", watched)
    hook = CheckpointHook(5, by_epoch=False, max_keep_ckpts=1, save_best="mIoU", background=background)
    run.run(hook, 10, SCORES)
    hook.wait()
    # iter_10 is written again after the validation, so that it knows of the best one
    assert [name for name, _ in stood if name.endswith("10.pth")] == [
        "iter_10.pth",
        "best_mIoU_iter_10.pth",
        "iter_10.pth",
    ]
    (_, first), (_, best), (_, again) = (event for event in stood if event[0].endswith("10.pth"))
    assert "iter_5.pth" in first and "best_mIoU_iter_5.pth" in first & best & again
    assert files(tmp_path) == ["best_mIoU_iter_10.pth", "iter_10.pth", "last_checkpoint"]


@pytest.mark.parametrize("background", [False, True])
def test_a_checkpoint_that_cannot_be_written_leaves_everything_as_it_was(tmp_path, background):
    run = Runner(tmp_path)
    hook = CheckpointHook(5, by_epoch=False, max_keep_ckpts=2, save_best="mIoU", background=background)
    run.run(hook, 13, SCORES)
    hook.wait()
    assert files(tmp_path) == ["best_mIoU_iter_10.pth", "iter_10.pth", "iter_5.pth", "last_checkpoint"]
    records = run.records()
    with largest_file(SMALL):
        run.run(hook, 22, SCORES)  # a periodic one at 15, a periodic and a best one at 20
        hook._settle(run)
    assert files(tmp_path) == ["best_mIoU_iter_10.pth", "iter_10.pth", "iter_5.pth", "last_checkpoint"]
    assert run.records() == records and list(hook.keep_ckpt_ids) == [5, 10]
    assert Path(hook.last_ckpt).name == "iter_10.pth" and Path(hook.best_ckpt_path).name == "best_mIoU_iter_10.pth"
    assert (tmp_path / "last_checkpoint").read_text() == str(tmp_path / "iter_10.pth")
    errors = run.logged("ERROR")
    assert all("was not written: File too large" in e and "ulimit -f" in e for e in errors)
    failed = [re.search(rf"checkpoint {tmp_path}/(\S+)", e)[1] for e in errors]
    assert failed[:3] == ["iter_15.pth", "iter_20.pth", "best_mIoU_iter_20.pth"]
    run.run(hook, 30, SCORES)
    hook.wait()
    assert files(tmp_path) == ["best_mIoU_iter_30.pth", "iter_25.pth", "iter_30.pth", "last_checkpoint"]
    assert run.records()["best_score"] == 7 and run.records()["keep_ckpt_ids"] == [25, 30]
    hook.after_train(run)  # every kind stands again: no error


@pytest.mark.parametrize("background", [False, True])
def test_a_run_whose_last_checkpoint_failed_ends_with_an_error(tmp_path, background):
    run = Runner(tmp_path, max_iters=20)
    hook = CheckpointHook(10, by_epoch=False, background=background)
    run.run(hook, 15)
    hook.wait()
    with (
        largest_file(SMALL),
        pytest.raises(CheckpointError, match=r"run ends without.*iter_20\.pth was not written: File too large"),
    ):
        run.run(hook, 20)
    assert files(tmp_path) == ["iter_10.pth", "last_checkpoint"]


def test_a_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() or os.system(f"mount -t tmpfs -o size=300k tmpfs {disk} 2> /dev/null"):
        pytest.skip("needs the right to mount a file system")
    try:
        run = Runner(disk, size=25_000)  # 100 kB
        hook = CheckpointHook(5, by_epoch=False, max_keep_ckpts=1)
        run.run(hook, 10)
        (disk / "of somebody else").write_bytes(bytes(150_000))
        run.run(hook, 20)
        (error, again) = run.logged("ERROR")
        assert "iter_15.pth was not written: No space left on device (0.1 MB are to be written, 0." in error
        assert "iter_20.pth" in again and "Free some space there" in error
        assert files(disk) == ["iter_10.pth", "last_checkpoint", "of somebody else"]
        (disk / "of somebody else").unlink()
        run.run(hook, 25)
        assert files(disk) == ["iter_25.pth", "last_checkpoint"]
    finally:
        os.system(f"umount -l {disk}")


def test_a_folder_that_goes_away_and_comes_back(tmp_path):
    run = Runner(tmp_path / "work")
    hook = CheckpointHook(5, by_epoch=False, out_dir=str(tmp_path / "out"), max_keep_ckpts=1)
    run.run(hook, 5)
    folder = tmp_path / "out" / "work"
    folder.rename(tmp_path / "kept")
    folder.touch()
    run.run(hook, 10)
    assert re.search(r"iter_10\.pth was not written: (Not a directory|File exists)", run.logged("ERROR")[0])
    folder.unlink()
    (tmp_path / "kept").rename(folder)
    assert prepare_resume(tmp_path / "work") == folder / "iter_5.pth"
    run.run(hook, 15)
    assert files(folder) == ["iter_15.pth"]


def test_a_folder_that_cannot_be_written_is_an_error_before_the_first_iteration(tmp_path):
    (tmp_path / "file").touch()
    run = Runner(tmp_path / "work")
    with pytest.raises(CheckpointError, match=r"cannot be written into .*file/below/work: Not a directory.*out_dir"):
        run.run(CheckpointHook(5, by_epoch=False, out_dir=str(tmp_path / "file" / "below")), 5)


def test_what_a_killed_run_left_unfinished_is_removed(tmp_path):
    (tmp_path / ".gcseg-1-abc.part").write_bytes(b"half a checkpoint")
    run = Runner(tmp_path)
    run.run(CheckpointHook(5, by_epoch=False), 1)
    assert os.listdir(tmp_path) == [] and ".gcseg-1-abc.part" in " ".join(run.logged("INFO"))


def test_an_error_of_the_program_is_raised_at_once_and_changes_nothing(tmp_path, monkeypatch):
    run, hook = Runner(tmp_path), CheckpointHook(5, by_epoch=False, max_keep_ckpts=1)
    run.run(hook, 5)
    records = run.records()
    monkeypatch.setattr(run, "save_checkpoint", lambda *a, **k: {}["no such key"])
    with pytest.raises(KeyError, match="no such key"):
        run.run(hook, 10)
    assert run.records() == records and files(tmp_path) == ["iter_5.pth", "last_checkpoint"]


def test_options_and_metrics_that_do_not_exist(tmp_path):
    with pytest.raises(ConfigError, match=r"default_hooks\.checkpoint: .*'max_keep_ckpt'.*'max_keep_ckpts'"):
        CheckpointHook(5, max_keep_ckpt=3).before_train(Runner(tmp_path))
    with pytest.raises(ConfigError, match=r"save_best: .*'mIou'.*'mIoU'"):
        Runner(tmp_path).run(CheckpointHook(5, by_epoch=False, save_best="mIou", rule="greater"), 5, SCORES)


class Gate:
    """In the place of ``write_atomically``: waits until it is opened."""

    def __init__(self, monkeypatch):
        self.open, self.entered, self.real = threading.Event(), threading.Event(), checkpoint_hook.write_atomically
        monkeypatch.setattr(checkpoint_hook, "write_atomically", self)

    def __call__(self, path, data):
        self.entered.set()
        assert self.open.wait(300)
        self.real(path, data)


def test_in_the_background_a_state_is_written_while_the_weights_change(tmp_path, monkeypatch):
    gate, run, hook = Gate(monkeypatch), Runner(tmp_path), CheckpointHook(5, by_epoch=False, background=True)
    run.run(hook, 9)
    assert gate.entered.wait(300) and run.iter == 9 and os.listdir(tmp_path) == []
    later = threading.Timer(0.2, gate.open.set)
    later.start()
    run.run(hook, 12)  # the checkpoint of 10 waits for that of 5
    assert gate.open.is_set() and (tmp_path / "iter_5.pth").is_file()
    wait_for_checkpoints([hook])
    assert files(tmp_path) == ["iter_10.pth", "iter_5.pth", "last_checkpoint"]


def test_the_end_of_a_run_waits_for_the_background(tmp_path, monkeypatch):
    gate, run = Gate(monkeypatch), Runner(tmp_path, max_iters=10)
    threading.Timer(0.2, gate.open.set).start()
    run.run(CheckpointHook(10, by_epoch=False, background=True), 10)
    assert files(tmp_path) == ["iter_10.pth", "last_checkpoint"]


def fail_while_writing(folder):
    torch.set_num_threads(1)
    write = checkpoint_hook.write_atomically
    checkpoint_hook.write_atomically = lambda *a: (time.sleep(0.3), write(*a))
    Runner(folder).run(CheckpointHook(5, by_epoch=False, background=True), 6)
    raise SystemExit(3)


def test_a_process_that_ends_by_an_error_waits_for_the_background(tmp_path):
    process = torch.multiprocessing.get_context("fork").Process(target=fail_while_writing, args=(tmp_path,))
    process.start()
    process.join(300)
    assert process.exitcode == 3 and files(tmp_path) == ["iter_5.pth", "last_checkpoint"]


@pytest.mark.parametrize("background", [False, True])
def test_a_checkpoint_between_two_iterations(tmp_path, background):
    run = Runner(tmp_path)
    hook = CheckpointHook(5, by_epoch=False, max_keep_ckpts=2, background=background)
    run.run(hook, 7)
    path = hook.save_now(run)
    assert path == str(tmp_path / "iter_7.pth") == (tmp_path / "last_checkpoint").read_text()
    assert load_checkpoint_file(path)["meta"]["iter"] == 7 and files(tmp_path)
    stamp = os.stat(path).st_mtime_ns, os.stat(path).st_ino
    assert hook.save_now(run) == path and (os.stat(path).st_mtime_ns, os.stat(path).st_ino) == stamp
    run.run(hook, 11)
    assert hook.save_now(run) == str(tmp_path / "iter_11.pth")
    assert files(tmp_path) == ["iter_10.pth", "iter_11.pth", "last_checkpoint"]
    run.run(hook, 13)
    with largest_file(SMALL), pytest.raises(CheckpointError, match=r"iter_13\.pth was not written: File too large"):
        hook.save_now(run)
    assert prepare_resume(tmp_path) == tmp_path / "iter_11.pth"


def test_a_file_of_an_earlier_run_does_not_pass_for_this_ones(tmp_path):
    (tmp_path / "iter_3.pth").write_bytes(b"old")
    run, hook = Runner(tmp_path), CheckpointHook(5, by_epoch=False)
    run.run(hook, 3)
    assert files(Path(hook.save_now(run)).parent) == ["iter_3.pth", "last_checkpoint"]


def test_between_two_iterations_of_an_epoch_the_last_whole_epoch_stands(tmp_path):
    run, hook = Runner(tmp_path), CheckpointHook(1, by_epoch=True)
    run.run(hook, 13)
    assert hook.save_now(run) == str(tmp_path / "epoch_1.pth")
    assert load_checkpoint_file(tmp_path / "epoch_1.pth")["meta"] == dict(epoch=1, iter=10)


def save_without_end(folder, acknowledge, background):
    torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
    run = Runner(folder, max_iters=10**9, size=500_000)  # 2 MB
    hook = CheckpointHook(1, by_epoch=False, max_keep_ckpts=1, background=background)
    newest = prepare_resume(folder)
    hook.before_train(run)
    if newest is not None:
        content = load_checkpoint_file(newest)
        run.iter, run.weights = content["meta"]["iter"], content["state_dict"]["w"]
    while True:
        run.weights += 1
        hook.after_train_iter(run, run.iter)
        run.iter += 1
        stands = run.iter - background  # the one before stands when the next one begins
        os.write(acknowledge, f"{stands} ".encode())


@pytest.fixture
def quick_folder(tmp_path):
    """In memory where possible: on a disk that others use, a checkpoint takes longer than this test."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else tmp_path) as folder:
        yield Path(folder)


@pytest.mark.parametrize("background", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_run_killed_at_any_moment_has_its_newest_checkpoint(quick_folder, background):
    generator, newest, kills, caught = np.random.default_rng(0), 0, 0, 0
    while kills < 20 or newest < 20 or not caught:  # of ten or so, one dies in the middle of a file
        assert kills < 500
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            try:
                save_without_end(quick_folder, writer, background)
            finally:
                os._exit(1)
        os.close(writer)
        begun = time.perf_counter()
        said = os.read(reader, 100)
        time.sleep(generator.uniform(0, time.perf_counter() - begun))  # as long as a checkpoint takes
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        kills += 1
        with os.fdopen(reader, "rb") as f:
            stood = [int(n) for n in (said + f.read()).split(b" ")[:-1]]
        caught += any(f.startswith(".gcseg-") for f in os.listdir(quick_folder))
        found = prepare_resume(quick_folder)
        content = load_checkpoint_file(found) if found else dict(meta=dict(iter=0), state_dict=dict(w=torch.zeros(1)))
        # The very one that was said to stand, or one after it.
        assert content["meta"]["iter"] >= max([newest, *stood])
        assert (content["state_dict"]["w"] == content["meta"]["iter"]).all()
        newest = content["meta"]["iter"]
    print(newest, kills, caught)


def train_together(rank, port, folder):
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.distributed.init_process_group("gloo")
    run, hook = Runner(folder, max_iters=20), CheckpointHook(5, by_epoch=False, max_keep_ckpts=1, save_best="mIoU")
    run.run(hook, 5, SCORES)
    with largest_file(SMALL if rank == 0 else 10**9):
        run.run(hook, 10, SCORES)
    assert run.records()["last_ckpt"] == "iter_5.pth" and run.records()["best_score"] == 3
    run.run(hook, 15, SCORES)
    assert run.records()["last_ckpt"] == "iter_15.pth" and list(hook.keep_ckpt_ids) == [15]
    with largest_file(SMALL if rank == 0 else 10**9):
        try:
            run.run(hook, 20, SCORES)
        except CheckpointError as e:
            os._exit(7 if "iter_20.pth was not written: File too large" in str(e) else 1)
    os._exit(2)


def test_a_failure_on_the_main_process_is_one_on_all(tmp_path):
    port = free_port()
    fork = torch.multiprocessing.get_context("fork")
    processes = [fork.Process(target=train_together, args=(rank, port, tmp_path)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    assert [p.exitcode for p in processes] == [7, 7]
    assert files(tmp_path) == ["best_mIoU_iter_15.pth", "iter_15.pth", "last_checkpoint"]
