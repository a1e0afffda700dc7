"""Peak memory of this process."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def _status_bytes(key: str) -> int | None:
    """A line such as ``VmHWM:   13540 kB`` of /proc/self/status; None where there is none."""
    with suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            name, _, value = line.partition(":")
            if name == key:
                return int(value.split()[0]) * 1024
    return None


def peak_of_tensors(function: Callable[[], object]) -> int:
    """The most bytes that tensors made by a function had at once, as torch's allocator saw them.

    Exact, where the resident memory has holes of the heap in it, whose size changes from one call to the next.
    """
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        function()
    changes = [event for event in record.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(changes, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


class PeakMemory:
    """Peak resident memory of repetitions, above what the process held when this was made.

    Linux keeps a high-water mark of the resident set, however short the peak, and lets a process reset its own by
    writing 5 to /proc/self/clear_refs. Where that is not to be had, the peak is None.
    """

    def __init__(self) -> None:
        gc.collect()
        with suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)  # what preparation freed must not hide what the work takes
        self.baseline = _status_bytes("VmRSS")

    def start(self) -> None:
        """Begin a repetition."""
        self._reset = False
        with suppress(OSError):
            _CLEAR.write_text("5")
            self._reset = True

    def stop(self) -> int | None:
        """Bytes of the peak since :meth:`start`, above the baseline; None where the system does not tell."""
        peak = _status_bytes("VmHWM")
        if peak is None or self.baseline is None or not self._reset:
            return None
        return max(peak - self.baseline, 0)


class PeakDeviceMemory:
    """Peak memory of torch's allocator on the GPU, all of it: weights and states are part of what must fit."""

    def start(self) -> None:
        """Begin a repetition."""
        import torch

        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()

    def stop(self) -> int:
        """Bytes of the peak since :meth:`start`."""
        import torch

        return torch.cuda.max_memory_allocated()
