"""What exact resume and the guard against bad losses cost: microseconds per iteration and per sample, on this machine.

python benchmarks/reliability_overhead.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from types import SimpleNamespace

import torch

from gcseg.engine.guard import Vote
from gcseg.engine.hooks import IterationSeedHook
from gcseg.engine.samplers import StreamIndex
from gcseg.engine.stream import StreamDataset


def microseconds(function: Callable[[], object], repetitions: int = 2000) -> float:
    """Median time of a call."""
    times = []
    for _ in range(repetitions):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1e6


def main() -> None:
    """Print the table."""
    loss, device = torch.tensor(1.0), torch.device("cpu")
    data = StreamDataset([0], seed=1)
    hook, runner = IterationSeedHook(), SimpleNamespace(seed=1, iter=7)
    plain, placed = 0, StreamIndex(0, position=7)
    rows = {
        "iteration: is the loss finite, on any process": lambda: Vote(
            ~torch.isfinite(loss).all(), False, device=device
        ).result(),
        "iteration: seed the generators": lambda: hook.before_train_iter(runner, 0),
        "sample: seed the generators and put them back": lambda: data[placed],
        "sample: the same without a place": lambda: data[plain],
    }
    for name, function in rows.items():
        print(f"{name:50} {microseconds(function):8.1f} us")


if __name__ == "__main__":
    main()
