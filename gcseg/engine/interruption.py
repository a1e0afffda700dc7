"""SIGTERM and SIGINT end a training with a checkpoint.

The signal is only noted. The loop looks for it between iterations, so that what is saved is the state after a whole
one; while it waits for data, or validates, the wait is broken off. Several processes leave together: all hear of it
before their next backward pass. The exit codes are the shell's: 143 after SIGTERM, 130 after SIGINT; a second SIGINT
exits at once, without a checkpoint.

A terminal and Slurm send the signal to the workers of the data loaders as well. Those of SIGINT go on, and leave with
the process that they work for; SIGTERM ends them by torch's own handler, and is not taken for a fault then.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from torch.utils.data import get_worker_info

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequested(BaseException):
    """Leave the loop. Not an Exception: nothing on the way is to take it for a fault of its own."""


class Interruption:
    """Listens to the signals while it is entered; in another thread than the main one it hears nothing.

    Attributes:
        requested: the signal that came, or None.
    """

    def __init__(self) -> None:
        self.requested: signal.Signals | None = None
        self._raises = False
        self._before: dict[signal.Signals, Any] = {}
        self._process = 0

    def __enter__(self) -> Interruption:
        self.requested, self._process = None, os.getpid()
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._before = {}

    @property
    def name(self) -> str:
        """Of the signal that came."""
        return self.requested.name if self.requested else "stop"

    @contextmanager
    def interruptible(self, alone: bool) -> Iterator[None]:
        """What is inside may be broken off by the signal.

        Args:
            alone: there is no other process that would wait for this one; with others, the signal is only noted.

        Raises:
            StopRequested: the signal came.
        """
        if alone and self.requested is not None:
            raise StopRequested
        self._raises = alone
        try:
            yield
        finally:
            self._raises = False

    def leave(self) -> None:
        """Exit as is usual after the signal that came.

        Raises:
            KeyboardInterrupt: after SIGINT.
            SystemExit: after SIGTERM, with 143.
        """
        if self.requested == signal.SIGINT:
            raise KeyboardInterrupt
        # Of several processes one may have heard of the signal from the others only.
        raise SystemExit(128 + (self.requested or signal.SIGTERM))

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # forked with this handler
            if get_worker_info() is None:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        if self.requested == signal.SIGINT == number:
            os._exit(128 + signal.SIGINT)
        self.requested = signal.Signals(number)
        # torch raises the death of a worker here wherever the program is, also in the middle of a checkpoint.
        self._before.setdefault(signal.SIGCHLD, signal.signal(signal.SIGCHLD, lambda *_: None))
        print(
            f"\n{self.requested.name}: the run stops after this iteration and saves a checkpoint"
            + ("; press Ctrl-C again to leave at once" if number == signal.SIGINT else ""),
            file=sys.stderr,
            flush=True,
        )
        if self._raises:
            self._raises = False
            raise StopRequested
