import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from gcseg.engine.interruption import Interruption, StopRequested


def send(number):
    os.kill(os.getpid(), number)
    time.sleep(0.01)  # Python calls the handler between two instructions


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, None)])
def test_a_signal_is_noted_and_left_by(number, code, capsys):
    before = signal.getsignal(number)
    with Interruption() as interruption:
        assert interruption.requested is None
        send(number)
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
        time.sleep(10)
    assert interruption.requested == signal.SIGTERM


def test_no_wait_begins_after_the_signal():
    with Interruption() as interruption:
        send(signal.SIGTERM)
        with pytest.raises(StopRequested), interruption.interruptible(alone=True):
            raise AssertionError("not reached")


def test_one_of_many_goes_on_to_where_the_others_are():
    with Interruption() as interruption:
        with interruption.interruptible(alone=False):
            send(signal.SIGTERM)
        assert interruption.requested == signal.SIGTERM


def test_the_next_run_begins_without_a_request():
    interruption = Interruption()
    with interruption:
        send(signal.SIGTERM)
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
import os, signal, time
from gcseg.engine.interruption import Interruption
with Interruption():
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
    time.sleep(60)
"""
    begin = time.monotonic()
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 130
    assert "Ctrl-C again" in result.stderr
    assert time.monotonic() - begin < 30


def test_a_forked_worker_keeps_the_usual_way():
    with Interruption():
        child = os.fork()
        if not child:
            time.sleep(30)
            os._exit(0)
        time.sleep(0.05)
        os.kill(child, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
