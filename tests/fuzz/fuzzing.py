"""A small mutation fuzzer: cases are made from a seed and a number, and judged in a process of their own.

A target makes cases and feeds each to the library. A case passes if the library works, with a result that the target
finds right, or raises a ``GcsegError`` that names the input. Everything else is a finding: another exception, an error
that names nothing, a result that is wrong without a word, an input that takes too long, a process that dies.

    python tests/fuzz/fuzzing.py TARGET --case 17          one case, with its traceback
    python tests/fuzz/fuzzing.py all --runs 5000           many, and a table
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import importlib
import json
import os
import resource
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

#: Target -> module that defines it, and how many cases an ordinary test run tries.
TARGETS = {
    "cityscapes": ("fuzz_images", 90),
    "ade20k": ("fuzz_images", 90),
    "voc": ("fuzz_images", 90),
    "folder": ("fuzz_images", 90),
    "split_list": ("fuzz_trees", 100),
    "folder_tree": ("fuzz_trees", 100),
    "store": ("fuzz_store", 120),
    "mat": ("fuzz_annotations", 150),
    "polygons": ("fuzz_annotations", 150),
    "checkpoint_bytes": ("fuzz_checkpoints", 150),
    "checkpoint_content": ("fuzz_checkpoints", 150),
    "override": ("fuzz_configs", 35),
    "config_file": ("fuzz_configs", 35),
    "stored_config": ("fuzz_configs", 150),
}
SEED = 0
LIMIT_S = 60.0  # for one case, on a busy machine; a case takes milliseconds
_START_S = 300.0
_MEMORY = 4 << 30  # what a case may take beyond what the process has
_GOOD = ("worked", "refused")
_LONGEST = 2500  # characters of a message; it is one paragraph

Files = dict[str, "bytes | str | None"]


@dataclass
class Case:
    """An input.

    Attributes:
        files: path -> content; None is a folder, and a text is where a symbolic link leads.
        names: the message of a refusal has at least one of these words.
        note: what was done to it.
        facts: what the target wants to know when it judges.
    """

    files: Files
    names: list[str]
    note: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Make ``folder`` hold this and nothing else."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, content in self.files.items():
            path = os.path.join(os.fsencode(folder), os.fsencode(name))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if content is None:
                os.makedirs(path, exist_ok=True)
            elif isinstance(content, str):
                os.symlink(content, path)
            else:
                with open(path, "wb") as file:
                    file.write(content)


class Wrong(Exception):
    """The library worked, and what it gave is wrong; or it refused what it must take."""


@dataclass(frozen=True)
class Target:
    """What is fuzzed.

    Attributes:
        make: draws a case.
        check: feeds the case, whose files are in the folder, to the library; raises what the library raises, or Wrong.
    """

    name: str
    make: Callable[[Random], Case]
    check: Callable[[Case, Path], None]


def target(name: str) -> Target:
    """The target of a name."""
    return importlib.import_module(TARGETS[name][0]).targets()[name]


def make(name: str, seed: int, number: int) -> Case:
    """A case; always the same one for the same arguments."""
    return target(name).make(Random(f"{name}/{seed}/{number}"))


def judge(of: Target, case: Case, folder: Path) -> dict[str, str]:
    """What became of a case: ``outcome`` is "worked", "refused" or the kind of the finding; ``said`` and ``where``."""
    from gcseg.utils.errors import GcsegError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            of.check(case, folder)
    except Wrong as error:
        return {"outcome": "silently wrong", "said": str(error), "where": str(error)[:60]}
    except GcsegError as error:
        return _judge_message(error, case)
    except (Exception, SystemExit) as error:
        return {"outcome": type(error).__name__, "said": str(error)[:300], "where": _place(error)}
    return {"outcome": "worked", "said": "", "where": ""}


def _judge_message(error: Exception, case: Case) -> dict[str, str]:
    said, outcome = str(error), "refused"
    if not any(name in said for name in case.names):
        outcome = f"does not name {case.names[0]!r}"
    elif len(said) > _LONGEST:
        outcome = "message too long"
    elif not all(letter.isprintable() or letter in "\n\t" for letter in said):
        outcome = "message unprintable"
    return {"outcome": outcome, "said": said[:600], "where": _place(error)}


def _place(error: BaseException) -> str:
    """The last line of gcseg that the error went through, which tells findings apart."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f"{os.sep}gcseg{os.sep}" in f.filename]
    last = frames[-1] if frames else traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"


def _serve() -> None:
    """The process of its own: reads requests, answers each case as soon as it is judged."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes with their complaints
    faulthandler.enable()
    for line in sys.stdin:
        request = json.loads(line)
        of, folder = target(request["target"]), Path(request["folder"])
        _limit_memory()
        for number in range(request["first"], request["last"]):
            try:
                case = make(request["target"], request["seed"], number)
                case.write(folder)
            except Exception:  # a mistake in the fuzzer
                print(json.dumps({"broken": traceback.format_exc()}), file=answers, flush=True)
                raise
            print(json.dumps({"begins": number, "note": case.note}), file=answers, flush=True)
            verdict = judge(of, case, folder)
            if verdict["outcome"] not in _GOOD:
                case.write(Path(request["findings"]) / _label(request["target"], request["seed"], number))
            print(json.dumps({"number": number, **verdict}), file=answers, flush=True)
            if number == request["first"]:
                gc.freeze()  # mmengine collects garbage for each data set, and need not look at what has been imported
        print(json.dumps({"done": request["target"]}), file=answers, flush=True)


def _label(name: str, seed: int, number: int) -> str:
    return f"{name}-{seed}-{number}"


def _limit_memory() -> None:
    """A case that wants too much gets a MemoryError, and the machine lives on."""
    statistics = Path("/proc/self/statm")
    if statistics.exists():
        used = int(statistics.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + _MEMORY, resource.RLIM_INFINITY))


@dataclass
class Result:
    """What became of the cases of a target; ``findings`` has each kind once, with how often it came."""

    target: str
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_GOOD, 0))
    findings: dict[tuple[str, str], dict] = field(default_factory=dict)

    @property
    def inputs(self) -> int:
        """Number of cases."""
        return sum(self.counts.values()) + sum(f["times"] for f in self.findings.values())

    def add(self, verdict: dict, seed: int, findings: Path, folder: Path) -> None:
        """Count a verdict, and keep the input of a new finding, which is in ``folder`` if the process died."""
        if verdict["outcome"] in self.counts:
            self.counts[verdict["outcome"]] += 1
            return
        key = verdict["outcome"], verdict["where"]
        if key in self.findings:
            self.findings[key]["times"] += 1
            return
        kept = findings / _label(self.target, seed, verdict["number"])
        if not kept.exists():
            shutil.copytree(folder, kept, symlinks=True)
        again = f"{sys.executable} {__file__} {self.target} --seed {seed} --case {verdict['number']}"
        self.findings[key] = {**verdict, "times": 1, "input": str(kept), "again": again}

    def report(self) -> str:
        """All findings, each with the command that shows it again."""
        text = "\n\n".join(
            f"{self.target} {f['number']} ({f['times']} times), {f.get('note', '')}\n  {f['outcome']} at {f['where']}: "
            f"{f['said']}\n  input: {f['input']}\n  again: {f['again']}"
            for f in self.findings.values()
        )
        return text.encode("utf-8", "backslashreplace").decode()


class Fuzzer:
    """Runs cases in a process of their own, which it starts again when it hangs or dies.

    Args:
        findings: folder for the inputs that are findings.
    """

    def __init__(self, findings: Path) -> None:
        memory = Path("/dev/shm")  # files are made and removed by the thousand
        self._scratch = Path(tempfile.mkdtemp(prefix="fuzz-", dir=memory if os.access(memory, os.W_OK) else None))
        self._findings = findings
        self._log = self._scratch / "log"
        self._process: subprocess.Popen | None = None
        self._rest = b""
        self._lines: list[bytes] = []

    def run(self, name: str, first: int, last: int, seed: int = SEED, step: Callable[[], Any] = lambda: None) -> Result:
        """Judge the cases ``first`` to ``last - 1``."""
        result, number, folder = Result(name), first, self._scratch / name
        places = {"folder": str(folder), "findings": str(self._findings)}
        while number < last:
            self._ask({"target": name, "seed": seed, "first": number, "last": last, **places})
            note, limit, first_of_process = "", _START_S, number
            while True:
                answer = self._answer(limit)
                if isinstance(answer, str):  # how it died
                    where = self._end()
                    if limit == _START_S and not folder.exists():
                        raise RuntimeError(f"{answer} before the first case:\n{self._log.read_text(errors='replace')}")
                    verdict = {"outcome": answer, "said": where, "where": where.partition("\n")[0], "number": number}
                    result.add({**verdict, "note": note}, seed, self._findings, folder)
                    number += 1
                    step()
                    break
                if "broken" in answer:
                    raise RuntimeError(f"{name} {number} cannot be made: {answer['broken']}")
                if "done" in answer:
                    assert (answer["done"], number) == (name, last), "answers to another request"
                    break
                if "begins" in answer:
                    note = answer["note"]
                    limit = _START_S if number == first_of_process else LIMIT_S  # the first one imports what it needs
                    continue
                result.add({**answer, "note": note}, seed, self._findings, folder)
                number += 1
                step()
        return result

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _ask(self, request: dict) -> None:
        if self._process is None:
            settings = {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "TMPDIR": str(self._scratch)}
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    [sys.executable, __file__, "--serve"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env={**os.environ, **settings},
                )
            self._rest, self._lines = b"", []
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()

    def _answer(self, limit: float) -> dict | str:
        """The next answer, or how the process ended."""
        assert self._process is not None and self._process.stdout is not None
        if not self._lines:
            with selectors.DefaultSelector() as selector:
                selector.register(self._process.stdout, selectors.EVENT_READ)
                while not self._lines:
                    if not selector.select(limit):
                        self._process.send_signal(signal.SIGABRT)  # faulthandler then says where it stands
                        return f"hangs for more than {limit:.0f} s"
                    got = os.read(self._process.stdout.fileno(), 1 << 16)
                    if not got:
                        return f"the process dies ({self._process.wait()})"
                    *self._lines, self._rest = (self._rest + got).split(b"\n")
        return json.loads(self._lines.pop(0))

    def _end(self) -> str:
        """End the process; the place where it stood, from faulthandler."""
        assert self._process is not None
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        lines = self._log.read_text(errors="replace").splitlines()
        frames = [line.strip() for line in lines if line.startswith("  File ")]
        ours = [f for f in frames if f"{os.sep}gcseg{os.sep}" in f]
        return "\n".join([*(ours or frames)[:1], *frames[:4]]) or "no traceback"


def table(results: Iterable[Result]) -> str:
    """A Markdown table of what was tried."""
    lines = ["| target | inputs | worked | refused by name | findings |", "|---|---|---|---|---|"]
    lines += [
        f"| {r.target} | {r.inputs} | {r.counts['worked']} | {r.counts['refused']} | {len(r.findings)} |"
        for r in results
    ]
    return "\n".join(lines)


def _show(name: str, seed: int, number: int) -> None:
    case, folder = make(name, seed, number), Path(tempfile.mkdtemp(prefix="fuzz-")) / name
    case.write(folder)
    print(f"{case.note}\ninput: {folder}\na refusal names one of {case.names}\n", flush=True)
    faulthandler.enable()
    target(name).check(case, folder)
    print("worked")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", nargs="+", choices=["all", *TARGETS])
    parser.add_argument("--runs", type=int, default=1000, help="cases for each target (default 1000)")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--case", type=int, help="show this case alone")
    args = parser.parse_args()
    names = list(TARGETS) if "all" in args.target else args.target
    if args.case is not None:
        _show(names[0], args.seed, args.case)
        return
    from tqdm import tqdm

    fuzzer, results = Fuzzer(Path(tempfile.mkdtemp(prefix="fuzz-"))), []
    try:
        for name in names:
            with tqdm(total=args.runs, desc=name, mininterval=5) as bar:
                results.append(fuzzer.run(name, 0, args.runs, args.seed, bar.update))
            print(results[-1].report(), flush=True)
    finally:
        fuzzer.close()
        print(table(results))


if __name__ == "__main__":
    sys.modules["fuzzing"] = sys.modules["__main__"]  # the targets import it by that name
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    if sys.argv[1:] == ["--serve"]:
        _serve()
    else:
        main()
