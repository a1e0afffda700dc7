import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from torch.utils.data import DataLoader

from gcseg.engine.interruption import Interruption, StopRequested


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, None)])
def test_a_signal_is_noted_and_left_by(number, code, capsys):
    before = signal.getsignal(number)
    with Interruption() as interruption:
        assert interruption.requested is None
        signal.raise_signal(number)
        assert interruption.requested == number
        assert interruption.name == number.name
        with pytest.raises(SystemExit if code else KeyboardInterrupt) as left:
            interruption.leave()
    assert not code or left.value.code == code
    assert signal.getsignal(number) is before
    assert "saves a checkpoint" in capsys.readouterr().err


def test_a_wait_is_broken_off():
    with Interruption() as interruption, pytest.raises(StopRequested), interruption.interruptible(alone=True):
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
        time.sleep(300)
    assert interruption.requested == signal.SIGTERM


def test_no_wait_begins_after_the_signal():
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(StopRequested), interruption.interruptible(alone=True):
            raise AssertionError("not reached")


def test_one_of_many_goes_on_to_where_the_others_are():
    with Interruption() as interruption:
        with interruption.interruptible(alone=False):
            signal.raise_signal(signal.SIGTERM)
        assert interruption.requested == signal.SIGTERM


def test_the_next_run_begins_without_a_request():
    interruption = Interruption()
    with interruption:
        signal.raise_signal(signal.SIGTERM)
    with interruption:
        assert interruption.requested is None


def test_in_another_thread_nothing_is_heard():
    def listen():
        with Interruption():
            heard.append(signal.getsignal(signal.SIGTERM))

    heard = []
    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert heard == [signal.getsignal(signal.SIGTERM)]


def test_the_second_ctrl_c_exits_at_once():
    program = """
import signal
from gcseg.engine.interruption import Interruption
with Interruption():
    signal.raise_signal(signal.SIGINT)
    print("goes on", flush=True)
    signal.raise_signal(signal.SIGINT)
    print("goes on again", flush=True)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 130 and result.stdout == "goes on\n"
    assert "Ctrl-C again" in result.stderr


def test_a_forked_worker_keeps_the_usual_way():
    reader, writer = os.pipe()
    with Interruption():
        child = os.fork()
        if not child:
            os.write(writer, b"listens")
            for _ in range(30_000):  # a signal that comes just before a sleep is handled after it
                time.sleep(0.01)
            os._exit(0)
        os.read(reader, 100)
        os.kill(child, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
    os.close(reader), os.close(writer)


@pytest.fixture
def loaded():
    """Batches that a worker makes, of which there are more than it makes at once, and the worker."""
    with Interruption() as interruption:
        batches = iter(DataLoader(range(1000), num_workers=1, prefetch_factor=1))
        next(batches)
        yield interruption, batches, batches._workers[0]


def test_ctrl_c_leaves_the_workers_of_a_loader_alone(loaded):
    interruption, batches, worker = loaded
    os.kill(worker.pid, signal.SIGINT)  # which a terminal sends to all processes
    assert len(list(batches)) == 999
    assert interruption.requested is None


def test_a_worker_that_ends_by_the_same_signal_is_no_fault(loaded):
    interruption, _, worker = loaded
    watch = signal.getsignal(signal.SIGCHLD)
    signal.raise_signal(signal.SIGTERM)
    subprocess.run(["kill", "-TERM", str(worker.pid)], check=True)  # of its parent's a worker makes an exit with 0
    ended = os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)  # left for torch's watch to find
    assert ended.si_status == signal.SIGTERM
    interruption.__exit__()
    assert signal.getsignal(signal.SIGCHLD) is watch
