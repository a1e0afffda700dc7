"""Contestants measured in turn, so that one computes at any time and all meet the same moods of the machine."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.agreement import disagreements
from harness.machine import describe_commit, describe_machine, has_gpu

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PEER_VARIABLE = "GCSEG_PEER_PYTHON"

# A thread that waits must sleep and not spin: the others of its process wait, too, while another contestant computes.
_QUIET_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}


@dataclass(frozen=True)
class Contestant:
    """One way of doing a row's work.

    Attributes:
        name: in tables; unique in its row.
        side: ``"gcseg"`` or ``"peer"``: whose Python runs it.
        options: keyword arguments of the row's work, beside ``side``.
        tolerance: by name of an array of the answer, the largest difference from the first contestant's answer that
            still counts as the same work; see :func:`harness.agreement.difference`.
        work: another work than the row's.
    """

    name: str
    side: str
    options: dict[str, Any] = field(default_factory=dict)
    tolerance: dict[str, float] = field(default_factory=dict)
    work: str | None = None


@dataclass(frozen=True)
class Comparison:
    """A line of the table: how many times faster one contestant is than another, and what was aimed at.

    Attributes:
        label: the setting: ``"as published"``, ``"--amp"`` ...
        slow: name of the contestant that is compared with.
        fast: name of the contestant the line is about.
        aim: ratio of times to reach.
        memory_aim: ratio of memory, fast to slow, to stay under.
        limit: seconds to stay under.
    """

    label: str
    slow: str
    fast: str
    aim: float | None = None
    memory_aim: float | None = None
    limit: float | None = None


@dataclass(frozen=True)
class Row:
    """One claim: a work, who does it, and what is compared.

    Attributes:
        key: name in files and on the command line.
        title: what is done, for the table.
        script: file name of the script that has it.
        work: ``module:class``, a :class:`harness.work.Work`.
        contestants: the first one is the reference for answers.
        comparisons: lines of the table.
        options: keyword arguments of the work, the same for all contestants.
        repetitions: timed rounds.
        unit: ``"s"``, or what a second does many of, such as ``"img/s"``.
        show_memory: whether the peak of memory says something here.
        threads: of each contestant; None takes the command line's.
        needs_gpu: nothing is prepared where there is none.
        materials: calls ``(module:function, arguments)`` that write what the contestants share, made once per arena.
    """

    key: str
    title: str
    script: str
    work: str
    contestants: Sequence[Contestant]
    comparisons: Sequence[Comparison]
    options: dict[str, Any] = field(default_factory=dict)
    repetitions: int = 5
    unit: str = "s"
    show_memory: bool = True
    threads: int | None = None
    needs_gpu: bool = False
    materials: Sequence[tuple[str, dict[str, Any]]] = ()


class WorkerError(Exception):
    """A contestant failed; the text is its own."""


class WorkerUnavailable(WorkerError):
    """A contestant says that this machine cannot do its work."""


class Worker:
    """The process of one contestant.

    Args:
        python: its interpreter.
        threads: how many it may compute with.
        log: file for what it prints.
        path: folder to import gcseg from, for gcseg's side of a checkout that is not installed.
        works: further folders to find works in.
        timeout: seconds after which a request counts as failed.
    """

    def __init__(
        self,
        python: str,
        threads: int,
        log: Path,
        path: Path | None = None,
        works: Sequence[Path] = (),
        timeout: float = 1800.0,
    ) -> None:
        env = {**os.environ, **_QUIET_WAITING, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        env["PYTHONPATH"] = str(path) if path else ""
        self.log, self.timeout = log, timeout
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [python, str(HERE / "worker.py"), *map(str, works)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=env,
                cwd=log.parent,
            )

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """One request, and its reply.

        Raises:
            WorkerUnavailable: the machine lacks something.
            WorkerError: it failed, died, or took too long.
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **request}).encode() + b"\n")
            self.process.stdin.flush()
            ready, _, _ = select.select([self.process.stdout], [], [], self.timeout)
        except BrokenPipeError:
            ready = [self.process.stdout]
        if not ready:
            self.close()
            raise WorkerError(f"no answer to {do!r} within {self.timeout:.0f} s")
        line = self.process.stdout.readline()
        if not line:
            raise WorkerError(f"the process ended with status {self.process.wait()}: {self._last_words()}")
        reply = json.loads(line)
        if "unavailable" in reply:
            raise WorkerUnavailable(reply["unavailable"])
        if "error" in reply:
            raise WorkerError(reply["error"])
        return reply

    def _last_words(self) -> str:
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1].strip() if lines else "it printed nothing"

    def close(self) -> None:
        """End the process."""
        if self.process.stdin is not None:
            with suppress(BrokenPipeError):
                self.process.stdin.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


@dataclass
class Arena:
    """Where contests take place: interpreters, threads, a folder for files.

    Attributes:
        folder: for files that contestants share and for their logs.
        peer_python: the interpreter of the environment that has the peer; None if there is none.
        threads: of each contestant.
        on_step: told what is done next, once per step of :func:`count_steps`.
        repetitions: in place of the rows' own.
        works: further folders to find works in.
    """

    folder: Path
    peer_python: str | None = None
    threads: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    on_step: Callable[[str], None] = lambda text: None
    repetitions: int | None = None
    works: Sequence[Path] = ()
    _workers: int = 0
    _provided: set[str] = field(default_factory=set)

    def start(self, side: str, threads: int | None = None) -> Worker:
        """A new process for a side.

        Raises:
            WorkerUnavailable: the side is not installed.
        """
        self._workers += 1
        log = self.folder / f"{self._workers:03d}_{side}.log"
        if side == "gcseg":
            return Worker(sys.executable, threads or self.threads, log, path=ROOT, works=self.works)
        if not self.peer_python:
            raise WorkerUnavailable(
                f"no peer: name the interpreter of an environment with onedl-mmsegmentation by --peer-python or in "
                f"{PEER_VARIABLE}"
            )
        try:
            return Worker(self.peer_python, threads or self.threads, log, works=self.works)
        except OSError as e:
            raise WorkerUnavailable(f"{self.peer_python}: {e.strerror}") from e

    def provide(self, function: str, arguments: dict[str, Any]) -> None:
        """Call ``module:function`` of the benchmarks in a gcseg process of its own, unless that was done before.

        Raises:
            WorkerError: it failed.
        """
        call = json.dumps([function, arguments], sort_keys=True)
        if call in self._provided:
            return
        worker = self.start("gcseg")
        try:
            worker.ask("call", function=function, arguments=arguments)
        finally:
            worker.close()
        self._provided.add(call)

    def rounds(self, row: Row) -> int:
        """Timed rounds of a row."""
        return self.repetitions or row.repetitions


@contextmanager
def open_arena(**options: Any) -> Iterator[Arena]:
    """An arena in a folder that is deleted afterwards, also when the process is asked to end."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        with tempfile.TemporaryDirectory(prefix="gcseg_benchmark_") as folder:
            yield Arena(folder=Path(folder), **options)
    finally:
        signal.signal(signal.SIGTERM, before)


def count_steps(row: Row, arena: Arena) -> int:
    """How often ``on_step`` will be called for a row: prepare and answer, and the rounds between, per contestant."""
    return len(row.contestants) * (2 + arena.rounds(row))


def run_row(row: Row, arena: Arena) -> dict[str, Any]:
    """Measure one row.

    Every contestant prepares; then each does one repetition per round, in an order that is reversed every other round;
    then their answers are compared. One that fails is left out and its message kept; the others go on.

    Returns:
        Everything there is to know about the row, as JSON has it; see docs/performance.json.
    """
    results: dict[str, dict[str, Any]] = {
        c.name: {"side": c.side, "seconds": [], "cpu_seconds": [], "peak_bytes": []} for c in row.contestants
    }
    machine = describe_machine(row.threads or arena.threads)
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}

        def attempt(contestant: Contestant, what: str, action: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
            arena.on_step(f"{row.key}: {contestant.name}, {what}")
            result = results[contestant.name]
            if "unavailable" in result or "error" in result:
                return None
            try:
                return action()
            except WorkerUnavailable as e:
                result["unavailable"] = str(e)
            except WorkerError as e:
                result["error"] = str(e)
            failed = workers.pop(contestant.name, None)
            if failed:
                failed.close()
            return None

        def prepare(contestant: Contestant) -> dict[str, Any]:
            if row.needs_gpu and not has_gpu():
                raise WorkerUnavailable("no GPU")
            for function, arguments in row.materials:
                arena.provide(function, arguments)
            worker = arena.start(contestant.side, row.threads)
            stack.callback(worker.close)
            workers[contestant.name] = worker
            options = {"side": contestant.side, **row.options, **contestant.options}
            return worker.ask("prepare", work=contestant.work or row.work, options=options)

        for contestant in row.contestants:
            reply = attempt(contestant, "preparing", lambda c=contestant: prepare(c))
            if reply:
                results[contestant.name]["versions"] = reply["versions"]
        rounds = arena.rounds(row)
        for number in range(rounds):
            for contestant in list(row.contestants)[:: -1 if number % 2 else 1]:
                what = f"round {number + 1} of {rounds}"
                reply = attempt(contestant, what, lambda c=contestant: workers[c.name].ask("measure"))
                if reply:
                    for key in ("seconds", "cpu_seconds", "peak_bytes"):
                        results[contestant.name][key].append(reply[key])
        files = {c.name: arena.folder / f"answer_{i}.npz" for i, c in enumerate(row.contestants)}
        for contestant in row.contestants:
            request = {"file": str(files[contestant.name])}
            reply = attempt(contestant, "answer", lambda c=contestant, r=request: workers[c.name].ask("answer", **r))
            if reply:
                results[contestant.name]["figures"] = reply["figures"]
        alive = [c for c in row.contestants if c.name in workers]
    if alive:
        reference = alive[0]
        for contestant in alive[1:]:
            if contestant.tolerance:
                results[contestant.name]["agreement"] = disagreements(
                    files[reference.name], files[contestant.name], contestant.tolerance, reference.name
                )
    return {
        "title": row.title,
        "script": row.script,
        "unit": row.unit,
        "show_memory": row.show_memory,
        "machine": machine,
        "commit": describe_commit(ROOT),
        "contestants": results,
        "comparisons": [asdict(c) for c in row.comparisons],
        "finished": time.strftime("%Y-%m-%d %H:%M"),
    }
