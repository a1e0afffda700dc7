"""Many small jobs in several processes, of which one may die."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_all_start_methods, get_context
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
_CHUNK = 8
_CHUNKS_AHEAD = 3  # of each process


def run_all(
    function: Callable[[T], R], jobs: Sequence[T], workers: int, on_death: Callable[[T], R]
) -> Iterator[tuple[int, R]]:
    """Place and result of every job, in the order in which they are done.

    Args:
        function: what to do with a job; what it raises ends the loop.
        jobs: the jobs.
        workers: number of processes; 0 works in this one.
        on_death: gives the result of a job at which its process died: killed for its memory, or crashed.
    """
    if workers == 0:
        yield from enumerate(map(function, jobs))
        return
    size = max(1, min(_CHUNK, len(jobs) // (4 * workers)))
    waiting = deque(range(at, min(at + size, len(jobs))) for at in range(0, len(jobs), size))
    suspects: deque[int] = deque()
    while waiting or suspects:
        yield from _one_by_one(function, jobs, suspects, on_death)
        flying: dict[Future[list[R]], range] = {}
        with _pool(min(workers, max(1, len(waiting)))) as pool:
            try:
                while waiting or flying:
                    while waiting and len(flying) < _CHUNKS_AHEAD * workers:
                        future = pool.submit(_each, function, [jobs[at] for at in waiting[0]])
                        flying[future] = waiting.popleft()
                    for future in wait(flying, return_when=FIRST_COMPLETED).done:
                        results = future.result()
                        yield from zip(flying.pop(future), results, strict=True)
            except BrokenProcessPool:
                suspects.extend(at for chunk in flying.values() for at in chunk)
            except BaseException:  # Ctrl-C, or an error of the function: what waits is not done any more
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _one_by_one(
    function: Callable[[T], R], jobs: Sequence[T], places: deque[int], on_death: Callable[[T], R]
) -> Iterator[tuple[int, R]]:
    """Each in a process where it can only hurt itself; takes them off ``places``."""
    while places:
        with _pool(1) as pool:
            try:
                while places:
                    result = pool.submit(function, jobs[places[0]]).result()
                    yield places.popleft(), result
            except BrokenProcessPool:
                at = places.popleft()
                yield at, on_death(jobs[at])


def _pool(workers: int) -> ProcessPoolExecutor:
    method = "fork" if "fork" in get_all_start_methods() else None  # as data loaders do: classes of the user are there
    return ProcessPoolExecutor(workers, mp_context=get_context(method), initializer=_begin)


def _begin() -> None:
    """In a new process: one thread of OpenCV, and Ctrl-C is the business of the main process."""
    import cv2

    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _each(function: Callable[[T], R], jobs: list[T]) -> list[R]:
    return [function(job) for job in jobs]
