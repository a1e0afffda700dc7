"""Time and memory of several pieces of work, measured in turn."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch

from gcseg.utils.progress import progress

Name = TypeVar("Name")


@dataclass(frozen=True)
class Timing:
    """Repetitions of one piece of work.

    Attributes:
        seconds: of each repetition; those of one index were measured one after the other for all recipes.
        peak_bytes: the most memory of tensors that the work made had at once; its input and the weights are not in it.
    """

    seconds: tuple[float, ...]
    peak_bytes: int

    @property
    def median(self) -> float:
        """The middle of the repetitions, in seconds."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Half of the distance between the quartiles, in seconds; 0 for one repetition."""
        if len(self.seconds) < 2:
            return 0.0
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return (high - low) / 2

    def relative_to(self, other: Timing) -> float:
        """The median over the rounds of this time divided by the other's of the same round, minus one."""
        return statistics.median(a / b for a, b in zip(self.seconds, other.seconds, strict=True)) - 1


def time_interleaved(
    works: Mapping[str, Callable[[], object]], repeats: int, warmup: int, device: torch.device, what: str = ""
) -> dict[str, Timing]:
    """Time several works as :func:`interleaved_seconds` does, and count their memory afterwards."""
    seconds = interleaved_seconds(works, repeats, warmup, device, what)
    peaks = {name: peak_memory(work, device) for name, work in progress(works.items(), desc=f"{what} memory")}
    return {name: Timing(tuple(seconds[name]), peaks[name]) for name in works}


def interleaved_seconds(
    works: Mapping[Name, Callable[[], object]], repeats: int, warmup: int, device: torch.device, what: str = ""
) -> dict[Name, list[float]]:
    """Time several works in rounds, one repetition of each per round, in an order that is reversed every other round.

    Args:
        works: what to call, by name.
        repeats: timed rounds, at least one.
        warmup: rounds before them.
        device: what they compute on.
        what: words for the progress bar.

    Returns:
        The seconds of the timed rounds.
    """
    seconds: dict[Name, list[float]] = {name: [] for name in works}
    rounds = [(i, name) for i in range(-warmup, repeats) for name in (works if i % 2 == 0 else reversed(list(works)))]
    for index, name in progress(rounds, desc=f"{what} time", unit="run"):
        _wait(device)
        start = time.perf_counter()
        works[name]()
        _wait(device)
        if index >= 0:
            seconds[name].append(time.perf_counter() - start)
    return seconds


def peak_memory(work: Callable[[], object], device: torch.device) -> int:
    """The most bytes that tensors made by a work had at once, beyond what there was before.

    On a GPU as torch's allocator counts; on a CPU from the allocations that torch's profiler records.
    """
    if device.type == "cuda":
        _wait(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        _wait(device)
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # otherwise the profiler tells on stderr that it starts and stops
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        work()
    results = record.profiler.kineto_results  # the only place that has the allocations in their order
    changes = [event for event in results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(changes, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
