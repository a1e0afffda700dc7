"""One process that fails ends all of them: first the watch alone, then real processes that wait for each other."""

import os
import signal
import sys
import time

import pytest
import torch
from several_processes import free_port, variables_of

from gcseg.engine import watch as watch_module
from gcseg.engine.watch import Watch, end_together
from gcseg.utils import DataError

INTERVAL, SILENCE, GRACE = 2, 30, 10
LIMIT = 300  # s; left alone, the processes would wait for each other for half an hour


class Ring:
    """Watches of several ranks on one store, in this process, by a clock of their own; notes who was ended with what.

    Their threads wait for :meth:`Watch.leave` alone.
    """

    def __init__(self, size):
        store = torch.distributed.HashStore()
        self.ended, self.now = {}, 0
        self.watches = [Watch(store, rank, size, self.end_of(rank), 3600, SILENCE, GRACE) for rank in range(size)]
        for each in self.watches:
            each._heard_at = self.now
            each.start()

    def end_of(self, rank):
        def end(text):
            self.ended.setdefault(rank, text)
            self.watches[rank]._left.set()

        return end

    def after(self, seconds):
        """Who has been ended by then, with what."""
        for _ in range(seconds // INTERVAL):
            self.now += INTERVAL
            for each in self.watches:
                if not each._left.is_set():
                    each._look(self.now)
        return self.ended


@pytest.fixture
def ring():
    rings = []

    def make(size=3):
        rings.append(Ring(size))
        return rings[-1]

    yield make
    for each in rings:
        for one in each.watches:
            one._left.set()
            one.join()


def test_a_failure_reaches_all_others_with_its_message(ring, capsys):
    ring = ring()
    ring.watches[1].fail(DataError("img/3.png: damaged\nbeyond repair"))
    ended = ring.after(INTERVAL)
    assert set(ended) == {0, 2}
    for text in ended.values():
        assert " stops: rank 1 of 3 (" in text and "DataError: img/3.png: damaged beyond" in text
    assert ended[0].startswith("rank 0 of 3") and "rank 1 of 3" in capsys.readouterr().err


def test_who_fails_in_consequence_says_why(ring):
    ring = ring()
    ring.watches[2].fail(DataError("the cause"))
    ring.watches[0].fail(RuntimeError("Connection closed by peer"))
    assert "rank 2 of 3" in ring.ended[0] and "the cause" in ring.ended[0] and "peer" not in ring.ended[0]


def test_a_connection_that_was_closed_is_explained(ring, capsys):
    ring().watches[0].fail(RuntimeError("[gloo/tcp] Connection closed by peer"))
    assert "killed, or out of memory" in capsys.readouterr().err


def test_a_process_that_cannot_end_after_its_failure_is_ended(ring):
    ring = ring()
    ring.watches[1].fail(DataError("damaged"))
    assert set(ring.after(GRACE)) == {0, 2}
    assert "has not ended" in ring.after(2 * INTERVAL)[1]


def test_silence_is_noticed_and_told_to_all(ring):
    ring = ring()
    ring.after(10 * SILENCE)
    ring.watches[1]._left.set()  # the thread dies as it does with its process, without a word
    assert ring.after(INTERVAL + SILENCE) == {}  # its last beat is heard in the first of them
    ended = ring.after(INTERVAL)
    assert set(ended) == {0, 2}
    assert all("nothing has been heard of rank 1 for 32 s" in text for text in ended.values())


def test_who_has_finished_is_not_missed(ring):
    ring = ring()
    ring.watches[1].leave()
    assert ring.after(10 * SILENCE) == {}
    ring.watches[2].leave(), ring.watches[0].leave()
    assert not any(w.is_alive() for w in ring.watches) and ring.ended == {}


def test_a_lost_store_ends_the_process_after_a_while(ring):
    ring = ring(size=2)

    class Gone:
        def __getattr__(self, name):
            raise RuntimeError("connection reset")

    ring.watches[0].store = Gone()
    assert ring.after(SILENCE) == {}
    ended = ring.after(2 * INTERVAL)
    assert "lost the store" in ended[0] and "rank 0" in ended[1]


def test_one_process_is_not_watched():
    with end_together():
        assert not any(isinstance(t, Watch) for t in watch_module.threading.enumerate())


def fail_in_a_group(rank, size, port, fault, output):
    os.environ.update(variables_of(rank, size, port))
    torch.set_num_threads(1)
    sys.stderr = output.open("w")
    torch.distributed.init_process_group("gloo")
    try:
        with end_together():
            torch.distributed.barrier()
            if rank == 1:
                fault()
            torch.distributed.barrier()
    except DataError:
        if fault in (lingers, lingers_for_ever):
            time.sleep(3600)
        raise


def raises():
    raise DataError("img/3.png: damaged")


def is_killed():
    os.kill(os.getpid(), signal.SIGKILL)


def lingers():
    raises()


def lingers_for_ever():
    next(t for t in watch_module.threading.enumerate() if isinstance(t, Watch)).grace = 3600
    raises()


def is_stopped():
    os.kill(os.getpid(), signal.SIGSTOP)


def run_fault(fault, tmp_path, wait_for_1=LIMIT):
    """Seconds until all processes have ended, what they wrote, and their exit codes; nobody kills the others."""
    port, fork = free_port(), torch.multiprocessing.get_context("fork")
    files = [tmp_path / f"{rank}.txt" for rank in range(2)]
    processes = [fork.Process(target=fail_in_a_group, args=(r, 2, port, fault, files[r])) for r in range(2)]
    start = time.monotonic()
    for process in processes:
        process.start()
    processes[0].join(LIMIT)
    seconds = time.monotonic() - start
    try:
        assert not processes[0].is_alive(), "rank 0 is still there"
        processes[1].join(wait_for_1)
        return seconds, [f.read_text() for f in files], [p.exitcode for p in processes]
    finally:
        for process in processes:
            process.kill()


@pytest.mark.parametrize("fault", [raises, is_killed])
def test_no_process_waits_for_one_that_is_gone(fault, tmp_path):
    seconds, (said, said_by_1), codes = run_fault(fault, tmp_path)
    print(f"{fault.__name__}: {seconds:.1f} s")
    assert codes[0] == 1
    if fault is raises:
        assert "rank 0 of 2 stops: rank 1 of 2 (" in said and "DataError: img/3.png: damaged" in said
        assert "rank 1 of 2" in said_by_1 and "DataError: img/3.png: damaged" in said_by_1
    else:
        assert "rank 0 of 2" in said and "killed, or out of memory" in said and codes[1] == -signal.SIGKILL


def test_no_process_waits_for_one_that_cannot_end(tmp_path):
    seconds, (said, _), codes = run_fault(lingers_for_ever, tmp_path, wait_for_1=0)
    print(f"lingers: {seconds:.1f} s")
    assert codes == [1, None] and "DataError: img/3.png: damaged" in said


@pytest.mark.slow
def test_who_cannot_end_is_ended(tmp_path):
    _, (_, said_by_1), codes = run_fault(lingers, tmp_path)
    assert codes == [1, 1] and "has not ended 10 s after its failure" in said_by_1


@pytest.mark.slow
def test_a_process_that_has_stopped_is_noticed(tmp_path):
    seconds, (said, _), _ = run_fault(is_stopped, tmp_path, wait_for_1=0)
    print(f"{is_stopped.__name__}: {seconds:.1f} s")
    assert seconds > 25 and "nothing has been heard of rank 1" in said
