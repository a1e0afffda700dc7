"""The process of one contestant: prepares its work once and then does one repetition whenever it is told to.

Requests and replies are lines of JSON on stdin and stdout. Whatever the work itself prints goes to stderr. Arguments
are further folders to find works in.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

# The folder of the benchmarks, whose scripts hold the works.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.memory import PeakDeviceMemory, PeakMemory, peak_of_tensors
from harness.work import Unavailable, Work


class Contestant:
    """Answers requests; see the methods named ``do_*``."""

    work: Work
    memory: PeakMemory | PeakDeviceMemory

    def do_call(self, function: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call a function ``module:name`` of the benchmarks."""
        return {"result": _find(function)(**arguments)}

    def do_prepare(self, work: str, options: dict[str, Any]) -> dict[str, Any]:
        """Make the work ``module:class`` and warm it up."""
        self.work = _find(work)(**options)
        # Set before the warm-up: what it takes and keeps belongs to the work.
        self.memory = PeakDeviceMemory() if self.work.device == "cuda" else PeakMemory()
        self.work.warm_up()
        return {"versions": _versions()}

    def do_measure(self) -> dict[str, Any]:
        """One repetition: seconds and processor's seconds of one item, and the peak of memory in bytes."""
        peak = self._temporaries() if self.work.temporaries else None
        self.work.before()
        gc.collect()
        self.memory.start()
        start, used = time.perf_counter(), _processor_seconds()
        own_figure = self.work.run()
        if self.work.device == "cuda":
            _synchronize()
        seconds, used = time.perf_counter() - start, _processor_seconds() - used
        if own_figure is not None:
            seconds = own_figure
        peak = self.memory.stop() if peak is None else peak
        return {"seconds": seconds / self.work.items, "cpu_seconds": used / self.work.items, "peak_bytes": peak}

    def _temporaries(self) -> int:
        """Memory of the tensors of a repetition that is not timed: counting them costs time."""
        self.work.before()
        return peak_of_tensors(self.work.run)

    def do_answer(self, file: str) -> dict[str, Any]:
        """Save the answer as .npz, and give the figures."""
        import numpy as np

        np.savez(file, **self.work.answer())
        return {"figures": self.work.figures()}


def _find(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


def _processor_seconds() -> float:
    """What all threads of this process, and processes that it has waited for, have computed so far."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _synchronize() -> None:
    import torch

    torch.cuda.synchronize()


def _versions() -> dict[str, str]:
    """What is loaded that matters, by name."""
    versions = {"python": sys.version.split()[0]}
    for name in ("torch", "numpy", "cv2", "mmengine", "mmcv", "mmseg", "gcseg"):
        module = sys.modules.get(name)
        if module is not None and hasattr(module, "__version__"):
            versions[name] = str(module.__version__)
    return versions


def main() -> None:
    """Serve until stdin closes."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.path[1:1] = sys.argv[1:]
    contestant = Contestant()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = getattr(contestant, f"do_{request.pop('do')}")(**request)
        except Unavailable as e:
            reply = {"unavailable": str(e)}
        except Exception as e:
            traceback.print_exc()
            reply = {"error": f"{type(e).__name__}: {e}"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
