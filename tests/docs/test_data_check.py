"""What docs/reliability.md says about the check of the data."""

import re
from pathlib import Path

import numpy as np
from PIL import Image

from gcseg.analysis.data_check.kinds import KINDS, Finding
from gcseg.analysis.data_check.labels import Tally
from gcseg.analysis.data_check.report import CheckReport, DataSetSummary, _tally

PAGE = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text()
SECTION = PAGE.split("## Check the data first\n")[1].split("\n## ")[0]


def test_the_table_has_every_kind_with_its_severity():
    listed = {}
    for row in re.findall(r"^\| (`.*?) \| (fault|note) \|", SECTION, re.M):
        listed.update(dict.fromkeys(re.findall(r"`([\w-]+)`", row[0]), row[1]))
    assert listed == {name: kind.severity for name, kind in KINDS.items()}


def test_the_example_has_the_words_of_the_report():
    for kind in re.findall(r"^(?:fault|note): (.*?) \[([\w-]+)\]", SECTION, re.M):
        assert KINDS[kind[1]].title == kind[0]
    assert len(re.findall(r"^fault: ", SECTION, re.M)) == 8


def test_the_keys_of_the_json_file_are_listed():
    tally = Tally(["a"])
    tally.labels = 1
    finding = Finding("duplicate", ["val"], "x", "y")
    report = CheckReport("c", 1.0, 0, 1, [DataSetSummary("val", "p", "n", 1, 1, 1)], {"val": tally}, [finding])
    whole = report.as_dict()
    keys = {*whole, *whole["data_sets"][0], *whole["findings"][0], *_tally(tally), *_tally(tally)["classes"][0]}
    table = SECTION.split("### The JSON file\n")[1].split("###")[0]
    assert keys == {word for word in re.findall(r"`(\w+)`", table)}


def test_the_lines_that_convert_colours(tmp_path, monkeypatch):
    (code,) = re.findall(r"^```python\n(.*?)^```", SECTION, re.S | re.M)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "masks").mkdir()
    colours = np.array([[[70, 70, 70], [0, 0, 142]], [[128, 64, 128], [1, 2, 3]]], np.uint8)
    Image.fromarray(colours).save("masks/a.png")
    Image.fromarray(colours).quantize(4).save("masks/b.png")
    exec(compile(code, "documentation", "exec"), {})
    for name in ("a.png", "b.png"):
        assert np.asarray(Image.open(tmp_path / "labels" / name)).tolist() == [[1, 2], [0, 255]]
