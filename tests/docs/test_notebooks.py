"""The notebooks run from top to bottom, and show what they say."""

import json
import re
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def run(name, **shortened):
    """Run the code cells one after the other; ``NAME=value`` replaces the line that sets that name."""
    cells = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())["cells"]
    assert all(not cell["outputs"] for cell in cells if cell["cell_type"] == "code"), "commit notebooks without outputs"
    names = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            code = "".join(cell["source"])
            for key, value in shortened.items():
                code = re.sub(rf"^{key} = .*$", f"{key} = {value!r}", code, flags=re.M)
            exec(compile(code, f"{name}.ipynb", "exec"), names)
    return names


def test_the_block_in_a_network_of_ones_own():
    names = run("gc_block")
    assert names["accuracy"]["with the block"] > 0.95
    assert 0.3 < names["accuracy"]["without the block"] < 0.7  # a guess between two
    assert names["share"] > 0.3


def test_the_demo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run("demo", ITERATIONS=2)
    assert names["metrics"]["aAcc"] > 0 and names["labels"].shape == (160, 320)
    assert sum(names["found"].values()) == 160 * 320 and names["picture"].shape[:2] == (160, 320)


@pytest.mark.parametrize("file", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda file: file.stem)
def test_the_pages_they_name_exist(file):
    named = re.findall(r"docs/[\w/]+\.md", file.read_text())
    assert named and all((NOTEBOOKS.parent / page).is_file() for page in named)
