"""Malformed inputs of every kind, some in each run and thousands with ``--fuzz-runs N``; see fuzzing.py."""

import os
import selectors
import signal
from pathlib import Path

import fuzzing
import pytest
from fuzzing import TARGETS, Case, Fuzzer, Target, Wrong, judge

from gcseg.utils.errors import DataError


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory):
    fuzzer = Fuzzer(tmp_path_factory.mktemp("fuzz"))
    yield fuzzer
    fuzzer.close()


@pytest.fixture(scope="module", autouse=True)
def results(request):
    found = []
    yield found
    if request.config.getoption("--fuzz-runs"):
        with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            print("\n" + fuzzing.table(found))


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_is_mistaken(name, fuzzer, results, request):
    runs = request.config.getoption("--fuzz-runs") or TARGETS[name][1]
    result = fuzzer.run(name, 0, runs)
    results.append(result)
    assert not result.findings, f"{len(result.findings)} findings in {result.inputs} inputs\n\n{result.report()}"
    assert result.inputs == runs
    assert min(result.counts.values()) > 0, f"{name} tries one kind of input only: {result.counts}"


class _Raw(DataError):
    __str__ = Exception.__str__


def _target(check):
    return Target("own", lambda rng: Case({"a": b""}, ["a.png"]), check)


def _raise(error):
    raise error


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (DataError("a.png is damaged"), "refused"),
        (DataError("a file is damaged"), "does not name 'a.png'"),
        (DataError("a.png" + "." * 5000), "message too long"),
        (_Raw("a.png \x1b[31m"), "message unprintable"),
        (KeyError("a.png"), "KeyError"),
        (RecursionError(), "RecursionError"),
        (SystemExit(2), "SystemExit"),
        (Wrong("a label is missing"), "silently wrong"),
    ],
)
def test_verdicts(error, outcome, tmp_path):
    assert judge(_target(lambda case, folder: _raise(error)), Case({}, ["a.png"]), tmp_path)["outcome"] == outcome


def test_a_case_is_the_same_every_time():
    for name in ("mat", "polygons", "checkpoint_bytes", "override"):
        first, second = fuzzing.make(name, 0, 3), fuzzing.make(name, 0, 3)
        assert (first.files, first.note) == (second.files, second.note)
    assert fuzzing.make("mat", 0, 3).files != fuzzing.make("mat", 0, 4).files


def test_hanging_and_dying_are_found(tmp_path, monkeypatch):
    """A module of its own takes the place of a target: case 1 hangs, case 2 kills the process, the others work."""
    (tmp_path / "fuzz_trap.py").write_text(
        "import os, time\n"
        "from fuzzing import Case, Target\n"
        "def make(rng):\n"
        "    make.number += 1\n"
        "    return Case({'n': b'x'}, ['n'], facts={'n': make.number})\n"
        "def check(case, folder):\n"
        f"    with open({str(tmp_path / 'count')!r}, 'a') as file:\n"
        "        file.write('x')\n"
        f"    place = os.path.getsize({str(tmp_path / 'count')!r})\n"
        "    if place == 2:\n"
        f"        open({str(tmp_path / 'hangs')!r}, 'w').close()\n"
        "        time.sleep(1000)\n"
        "    if place == 3:\n"
        "        os.kill(os.getpid(), 11)\n"
        "make.number = 0\n"
        "def targets():\n"
        "    return {'mat': Target('mat', make, check)}\n"
    )
    source = Path(fuzzing.__file__).read_text().replace('"fuzz_annotations"', '"fuzz_trap"')
    source = source.replace("Path(__file__).resolve().parents[2]", repr(str(Path(fuzzing.__file__).parents[2])))
    (tmp_path / "fuzzing.py").write_text(source)
    monkeypatch.setattr(fuzzing, "__file__", str(tmp_path / "fuzzing.py"))

    class Selector(selectors.DefaultSelector):
        """Waits for an answer as long as it takes, and not at all for one that does not come."""

        def select(self, limit):
            while True:
                hangs = (tmp_path / "hangs").exists()
                found = super().select(0.05)
                if found:
                    return found
                if hangs:
                    (tmp_path / "hangs").unlink()
                    limits.append(limit)
                    return []

    limits = []
    monkeypatch.setattr(fuzzing.selectors, "DefaultSelector", Selector)
    trap = Fuzzer(tmp_path / "work")
    try:
        result = trap.run("mat", 0, 5)
        assert trap.run("mat", 5, 7).counts == {"worked": 2, "refused": 0}  # nothing is left of the first request
    finally:
        trap.close()
    assert result.counts == {"worked": 3, "refused": 0}
    assert limits == [fuzzing.LIMIT_S]
    hang, death = (f for f in result.findings.values())
    assert hang["outcome"].startswith("hangs") and hang["number"] == 1 and "fuzz_trap.py" in hang["said"]
    assert death["outcome"] == f"the process dies ({-signal.SIGSEGV})" and death["number"] == 2
    assert os.path.isfile(os.path.join(death["input"], "n"))
    assert death["again"].endswith("mat --seed 0 --case 2")
