"""The machinery under benchmarks/, with contestants that do nothing; no test looks at a clock."""

import json
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import run_all  # noqa: E402
from harness import report  # noqa: E402
from harness.agreement import difference, disagreements  # noqa: E402
from harness.contest import Arena, Comparison, Contestant, Row, count_steps, run_row  # noqa: E402


@pytest.fixture
def arena(tmp_path):
    """This Python plays the peer's, too."""
    return Arena(tmp_path, peer_python=sys.executable, threads=1, works=[HERE])


def fake_row(arena, *contestants, **changes):
    options = dict(
        key="fake",
        title="fake work",
        script="fake_work.py",
        work="fake_work:Fake",
        contestants=contestants or (Contestant("peer", "peer"), Contestant("gcseg", "gcseg")),
        comparisons=[Comparison("as published", "peer", "gcseg", aim=2.0)],
        options={"log": str(arena.folder / "log")},
        repetitions=3,
    )
    return Row(**{**options, **changes})


def visits(arena):
    return [json.loads(line) for line in (arena.folder / "log").read_text().splitlines()]


def cells(text, title):
    """The cells of the Markdown lines whose first one is ``title``."""
    lines = [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return [line for line in lines if line[0] == title]


def test_contestants_take_turns(arena):
    """Never two at once, every round all of them, in the reversed order every other round."""
    run_row(fake_row(arena), arena)
    log = visits(arena)
    assert [name for name, _, _ in log] == ["peer", "gcseg", "gcseg", "peer", "peer", "gcseg"]
    for (_, _, end), (_, start, _) in pairwise(log):
        assert end <= start


def test_ratio_and_spread(arena):
    row = fake_row(
        arena,
        Contestant("peer", "peer", {"seconds": 6.0}),
        Contestant("gcseg", "gcseg", {"seconds": 1.5}, {"value": 0.0, "kind": 0.0}),
    )
    result = run_row(row, arena)
    assert result["contestants"]["peer"]["seconds"] == [6.0, 6.0, 6.0]
    (line,) = cells(report.markdown({"fake": result}), "fake work")
    assert line[1:6] == ["as published", "6.00 s", "1.50 s", "**4.00** (4.00 to 4.00)", "2"]
    assert line[7] == "value 0, kind 0"
    assert "fake work" in report.plain({"fake": result})


def test_rates(arena):
    """A row whose unit is FLOP/s: the share of one contestant's rate in another's."""
    contestants = (
        Contestant("ceiling", "gcseg", {"seconds": 1.0}),
        Contestant("model", "gcseg", {"seconds": 4.0}),
    )
    row = fake_row(arena, *contestants, unit="FLOP/s", comparisons=[Comparison("float32", "ceiling", "model")])
    (line,) = cells(report.markdown({"fake": run_row(row, arena)}), "model")
    assert line == ["model", "1", "ceiling", "4", "25 %"]


def test_peak_memory_is_seen_however_short(arena):
    row = fake_row(
        arena, Contestant("peer", "peer"), Contestant("gcseg", "gcseg", {"bytes": 200_000_000}), repetitions=1
    )
    result = run_row(row, arena)["contestants"]
    assert result["gcseg"]["cpu_seconds"][0] > 0
    if result["gcseg"]["peak_bytes"] == [None]:
        pytest.skip("this system does not tell the peak of memory")
    assert 190e6 < result["gcseg"]["peak_bytes"][0] < 260e6
    assert result["peer"]["peak_bytes"][0] < 60e6


@pytest.mark.parametrize(
    ("fail", "message", "rounds"),
    [
        ("prepare", "failed: ValueError: the dog ate it", 0),
        ("run", "failed: ValueError: tripped in the second round", 1),
        ("die", "failed: the process ended with status 3: noise of a child", 0),
        ("unavailable", "not measured: no dog here", 0),
    ],
)
def test_failure_is_told_and_the_others_go_on(arena, fail, message, rounds):
    row = fake_row(arena, Contestant("peer", "peer", {"fail": fail}), Contestant("gcseg", "gcseg"))
    result = run_row(row, arena)
    assert len(result["contestants"]["peer"]["seconds"]) == rounds
    assert len(result["contestants"]["gcseg"]["seconds"]) == 3
    text = report.markdown({"fake": result})
    assert f"fake work (peer): {message}" in text
    assert "**" not in cells(text, "fake work")[0][4] or rounds  # no ratio to nothing


def test_no_peer(arena):
    arena.peer_python = None
    text = report.markdown({"fake": run_row(fake_row(arena), arena)})
    assert "fake work (peer): not measured: no peer: name the interpreter" in text
    arena.peer_python = str(arena.folder / "nothing")
    result = run_row(fake_row(arena), arena)
    assert "nothing: No such file" in result["contestants"]["peer"]["unavailable"]


def test_no_gpu(arena, monkeypatch):
    """Nothing is started and no material is made."""
    monkeypatch.setattr("harness.contest.has_gpu", lambda: False)
    row = fake_row(arena, needs_gpu=True, materials=[("fake_work:write_material", {"file": str(arena.folder / "x")})])
    assert "fake work: not measured: no GPU" in report.markdown({"fake": run_row(row, arena)})
    assert list(arena.folder.iterdir()) == []


def test_different_results_have_no_ratio(arena):
    row = fake_row(
        arena,
        Contestant("peer", "peer", {"answer": 1.0}),
        Contestant("gcseg", "gcseg", {"answer": 1.1}, {"value": 0.01}),
    )
    text = report.markdown({"fake": run_row(row, arena)})
    assert cells(text, "fake work")[0][4] == "results differ"
    assert "results of gcseg differ from peer's by value 0.1" in text


def test_materials_are_made_once(arena):
    file = arena.folder / "shared"
    row = fake_row(arena, materials=[("fake_work:write_material", {"file": str(file)})], repetitions=1)
    run_row(row, arena)
    run_row(row, arena)
    assert file.read_text() == "x"


def test_steps_are_counted(arena):
    told = []
    arena.on_step = told.append
    row = fake_row(arena, Contestant("peer", "peer", {"fail": "prepare"}), Contestant("gcseg", "gcseg"))
    run_row(row, arena)
    assert len(told) == count_steps(row, arena) == 10
    arena.repetitions = 1
    assert count_steps(row, arena) == 6


def test_difference():
    one = np.array([3.0, 4.0])
    assert difference(np.array([3.0, 9.0]), one) == 1.0
    assert difference(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5])) == 0.25
    assert difference(np.zeros(2), np.zeros(3)) == np.inf
    assert difference(np.array([np.nan, 1]), np.array([1.0, 1])) == np.inf
    assert difference(np.array([np.inf, 1]), np.array([np.inf, 1])) == 0.0


def test_disagreement_names_what_is_missing(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones(2))
    np.savez(tmp_path / "b.npz", x=np.ones(2), y=np.ones(2))
    found = disagreements(tmp_path / "a.npz", tmp_path / "b.npz", {"x": 0.0, "y": 0.0}, "a")
    assert found["differences"] == {"x": 0.0, "y": None}
    assert not found["same"]
    json.dumps(found, allow_nan=False)


class TestPage:
    """Writing of figures: ``run_all`` with fake rows."""

    @pytest.fixture
    def out(self, tmp_path):
        folder = tmp_path / "docs"
        folder.mkdir()
        (folder / "performance.md").write_text(f"# Speed\n\nbefore\n\n{report.BEGIN}\nold\n{report.END}\n\nafter\n")
        return folder

    @pytest.fixture
    def measure(self, out, monkeypatch):
        """``run_all`` over three rows: the second fails, and the third takes ``seconds``."""

        def measure(*argv, seconds=2.0):
            def rows(arena, quick):
                arena.works = [HERE]
                pair = (Contestant("peer", "peer", {"seconds": seconds}), Contestant("gcseg", "gcseg"))
                broken = (pair[0], Contestant("gcseg", "gcseg", {"fail": "die"}))
                return [
                    fake_row(arena, *contestants, key=key, title=key, repetitions=1)
                    for key, contestants in (("one", pair), ("two", broken), ("three", pair))
                ]

            monkeypatch.setattr(run_all, "all_rows", rows)
            run_all.main(["--out", str(out), "--peer-python", sys.executable, "--threads", "1", *argv])
            return (out / "performance.md").read_text()

        return measure

    def test_written_between_the_markers(self, out, measure, capsys):
        page = measure()
        assert page.startswith(f"# Speed\n\nbefore\n\n{report.BEGIN}\n")
        assert page.endswith(f"{report.END}\n\nafter\n")
        assert "old" not in page
        assert [cells(page, key)[0][4][:8] for key in ("one", "three")] == ["**2.00**"] * 2
        assert "two (gcseg): failed: the process ended with status 3" in page
        assert "one" in capsys.readouterr().out
        assert list(report.load(out / "performance.json")) == ["one", "two", "three"]

    def test_one_row_again_changes_that_row_alone(self, out, measure):
        measure()
        before = report.load(out / "performance.json")
        page = measure("--only", "three", seconds=5.0)
        after = report.load(out / "performance.json")
        assert (after["one"], after["two"]) == (before["one"], before["two"])
        assert cells(page, "one")[0][4].startswith("**2.00**")
        assert cells(page, "three")[0][4].startswith("**5.00**")

    def test_tables_alone(self, out, measure):
        page = measure()
        (out / "performance.md").write_text(f"new prose\n{report.BEGIN}\n{report.END}\n")
        assert measure("--tables") == "new prose\n" + page[page.index(report.BEGIN) : page.index(report.END)] + (
            f"{report.END}\n"
        )

    def test_merge(self, out, measure, tmp_path, capsys):
        """Rows of another machine are taken over, unless that one could not measure them."""
        measure()
        rows = report.load(out / "performance.json")
        rows["one"]["machine"]["cpu"] = "another processor"
        for contestant in rows["three"]["contestants"].values():
            contestant.update(seconds=[], cpu_seconds=[], peak_bytes=[], unavailable="no dog here")
        report.save(tmp_path / "other.json", {"one": rows["one"], "three": rows["three"]})
        page = measure("--merge", str(tmp_path / "other.json"))
        assert page.count("| work |") == 2  # a table for each machine
        assert page.index("another processor") < page.index("| one |") < page.index("| three |")
        assert cells(page, "three")[0][4].startswith("**2.00**")
        with pytest.raises(SystemExit):
            measure("--merge", str(tmp_path / "nothing.json"))
        assert "no such file" in capsys.readouterr().err

    def test_page_without_markers(self, out, measure):
        (out / "performance.md").write_text("# Speed\n")
        with pytest.raises(ValueError, match="needs the lines"):
            measure()

    def test_unknown_row(self, measure, capsys):
        with pytest.raises(SystemExit):
            measure("--only", "four")
        assert "four: no such row; there are one, two, three" in capsys.readouterr().err


@pytest.mark.parametrize("quick", [False, True])
def test_rows_of_the_scripts(arena, quick):
    """Every script has rows, and their comparisons speak of their own contestants."""
    rows = run_all.all_rows(arena, quick)
    keys = [row.key for row in rows]
    assert len(set(keys)) == len(keys) >= len(run_all.SCRIPTS)
    assert {row.script.removesuffix(".py") for row in rows} == set(run_all.SCRIPTS)
    for row in rows:
        names = [c.name for c in row.contestants]
        assert len(set(names)) == len(names)
        assert {name for c in row.comparisons for name in (c.slow, c.fast)} <= set(names)
        json.dumps([row.options, [c.options for c in row.contestants], row.materials])


def test_published_figures_are_the_stored_samples():
    """docs/performance.md was written from docs/performance.json, not by hand."""
    page = (ROOT / "docs/performance.md").read_text()
    stored = report.load(ROOT / "docs/performance.json")
    assert page.partition(report.BEGIN)[2].partition(report.END)[0].strip() == report.markdown(stored).strip()
