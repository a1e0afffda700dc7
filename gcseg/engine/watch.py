"""A process that fails ends all of them, soon and with its message.

Left alone, the others would wait for it in a collective operation until that times out, after half an hour by default.
torchrun, and srun with ``--kill-on-bad-exit``, end the processes of a machine when one has ended; nobody does so when a
process hangs while it dies, for the other machines of a static rendezvous, or for processes started by hand. So every
process watches: it beats a counter in the store through which the processes found each other, looks at that of the
next rank, and ends itself when a rank has said that it failed or has fallen silent. The same thread tells where the
processes are when they stand still (:mod:`gcseg.engine.standstill`).
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from gcseg.engine.standstill import Standstill
from gcseg.utils.errors import GcsegError

_INTERVAL = 2.0  # seconds between two looks
_SILENCE = 30.0  # a process that has not beaten for so long is lost
_GRACE = 10.0  # for a process that has failed to say so and to end by itself
_FAILED, _DONE = "failed", "done"
_EXIT_CODE = 1
_LONGEST = 2000  # characters of a message
_current: Watch | None = None


@contextmanager
def end_together() -> Iterator[None]:
    """Watch the other processes while the body runs; nothing to do when there is one.

    An ``Exception`` that leaves the body, on any rank, ends all processes within seconds, each with a line on stderr
    that says which rank failed and why. On the rank itself it is passed on; where the process has not ended 10 s later,
    it is ended. ``SystemExit`` and ``KeyboardInterrupt`` are no failures: others may still be writing a checkpoint.
    """
    global _current
    watch = _current = _open_watch()
    if watch is None:
        yield
        return
    watch.start()
    try:
        yield
    except Exception as e:
        watch.fail(e)
        raise
    except BaseException:
        watch.leave()
        raise
    finally:
        _current = None
    watch.leave()


def current_standstill() -> Standstill | None:
    """Where this process notes where it is, inside :func:`end_together` with several processes."""
    return _current.standstill if _current is not None else None


def _open_watch() -> Watch | None:
    """A watch on the processes of the default group, through a connection of its own to their store."""
    from mmengine.dist import broadcast_object_list, get_dist_info
    from mmengine.logging import print_log
    from torch.distributed import PrefixStore, TCPStore

    rank, size = get_dist_info()
    if size == 1:
        return None
    # The store may be older than this group: torchrun keeps it when it starts the processes again.
    name = [f"gcseg/{time.time_ns()}"]
    broadcast_object_list(name)
    try:
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        timeout = timedelta(seconds=_SILENCE)
        store = TCPStore(address, port, is_master=False, timeout=timeout, wait_for_workers=False)
    except (KeyError, ValueError, RuntimeError) as e:
        text = f"processes do not watch each other: no store at MASTER_ADDR, MASTER_PORT ({type(e).__name__}: {e})"
        print_log(text, logger="current", level=logging.WARNING)
        return None
    return Watch(PrefixStore(name[0], store), rank, size)


def _end_process(text: str) -> None:
    print(f"gcseg: {text}", file=sys.stderr, flush=True)
    os._exit(_EXIT_CODE)  # the main thread may be waiting in a collective operation, where no exception reaches it


class Watch(threading.Thread):
    """Watches the next rank, and listens for any rank that says that it has failed.

    Every rank is watched by another one, so that as long as one lives, a rank that is lost next to it in the ring is
    noticed, and all hear of it.

    Args:
        store: shared by the processes; its keys belong to this watch alone.
        rank: of this process.
        size: number of processes.
        end: ends this process with a message; must be callable from any thread.
        interval, silence, grace: seconds, see the constants above.
    """

    def __init__(
        self,
        store: Any,
        rank: int,
        size: int,
        end: Callable[[str], None] = _end_process,
        interval: float = _INTERVAL,
        silence: float = _SILENCE,
        grace: float = _GRACE,
    ) -> None:
        super().__init__(name="gcseg-watch", daemon=True)
        self.store = store
        self.standstill = Standstill(store, rank, size)
        self.me, self.next = rank, (rank + 1) % size
        self.name_of_me = f"rank {rank} of {size}"
        self.end, self.interval, self.silence, self.grace = end, interval, silence, grace
        self._left = threading.Event()
        self._own_failure: str | None = None
        self._beats, self._heard, self._heard_at = 0, "", time.monotonic()
        self._failed_at: float | None = None
        self._lost_at: float | None = None

    def fail(self, error: BaseException) -> None:
        """Tell all processes of this one's failure; where another has failed before, that is why, and this one ends."""
        text = f"{self.name_of_me} ({socket.gethostname()}, process {os.getpid()}) failed: {_described(error)}"
        self._own_failure = text
        try:
            first = self.store.compare_set(_FAILED, "", text).decode()
        except RuntimeError:  # the store is gone: its process was the first
            first = text
        if first == text:
            print(f"gcseg: {text}", file=sys.stderr, flush=True)
        else:
            self.end(f"{self.name_of_me} stops: {first}")

    def leave(self) -> None:
        """Stop watching, and let nobody miss this process."""
        self._left.set()
        self.join()
        with suppress(RuntimeError):  # nobody is left to be told
            self.store.set(f"beat{self.me}", _DONE)

    def run(self) -> None:
        """Beat, look and listen until :meth:`leave`."""
        while not self._left.wait(self.interval):
            self._look(time.monotonic())

    def _look(self, now: float) -> None:
        if self._own_failure is not None:
            self._failed_at = self._failed_at or now
            if now - self._failed_at > self.grace:
                self.end(f"{self.name_of_me} has not ended {self.grace:g} s after its failure, and is ended")
            return
        try:
            self._beats += 1
            self.store.set(f"beat{self.me}", str(self._beats))
            failure = self._read(_FAILED)
            beat = self._read(f"beat{self.next}")
            self.standstill.look(now)
        except RuntimeError as e:
            # Rank 0 may keep the store and have finished before this one: then this one has little left to do.
            self._lost_at = self._lost_at or now
            if now - self._lost_at > self.silence:
                self.end(f"{self.name_of_me} stops: it has lost the store of the processes ({e})")
            return
        self._lost_at = None
        if failure and self._own_failure is None:
            self.end(f"{self.name_of_me} stops: {failure}")
        if beat != self._heard or beat == _DONE:
            self._heard, self._heard_at = beat, now
        elif now - self._heard_at > self.silence:
            self._report_silence(now - self._heard_at)

    def _read(self, key: str) -> str:
        return self.store.get(key).decode() if self.store.check([key]) else ""

    def _report_silence(self, seconds: float) -> None:
        text = (
            f"nothing has been heard of rank {self.next} for {seconds:.0f} s; it was killed, ran out of memory, or its "
            "machine is gone (see dmesg there, and the launcher's log)"
        )
        first = self.store.compare_set(_FAILED, "", text).decode()
        self.end(f"{self.name_of_me} stops: {first}")


def _described(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if not isinstance(error, GcsegError) and any(word in text for word in ("closed by peer", "reset by peer", "NCCL")):
        text += (
            " -- a process that this one was waiting for has ended without a word: killed, or out of memory (see dmesg "
            "on its machine, and the launcher's log)"
        )
    return f"{type(error).__name__}: {text}"[:_LONGEST]
