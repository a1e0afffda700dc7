"""What the documentation shows is true: its code runs, its links and its options exist."""

import argparse
import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "configs" / "gcnet" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
OPTION = re.compile(r"--[a-z][\w-]+")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.S | re.M)


def blocks(language):
    for page in PAGES:
        for number, (kind, code) in enumerate(BLOCK.findall(page.read_text())):
            if kind == language:
                yield pytest.param(code, id=f"{page.relative_to(ROOT)}-{number}")


# docs/integrations.md needs other libraries: tests/integrations runs it.
RUNNABLE = [
    block
    for block in blocks("python")
    if block.values[0].startswith("import torch") and not block.id.startswith("docs/integrations")
]


CONFIGS = [block for block in blocks("python") if "{{$GCSEG_CONFIGS" in block.values[0]]


def test_the_pages_are_found():
    assert len(PAGES) > 12 and len(RUNNABLE) >= 4 and len(CONFIGS) >= 2


@pytest.mark.parametrize("code", blocks("python"))
def test_python_blocks_are_python(code):
    ast.parse(code)


@pytest.mark.parametrize("code", RUNNABLE)
def test_blocks_that_need_no_files_run(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write files
    exec(compile(code, "documentation", "exec"), {})


@pytest.mark.parametrize("code", CONFIGS)
def test_configs_of_the_pages_pass_the_checks(code, tmp_path):
    from gcseg.config import load_config

    file = tmp_path / "config.py"
    file.write_text(code)
    assert load_config(file).model.decode_head.type == "GCHead"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_local_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page}: {target}"


@pytest.mark.parametrize("tool", ["train", "test"])
def test_the_options_of_the_pages_are_those_of_the_tools(tool):
    from gcseg import cli

    text = "\n".join(page.read_text() for page in PAGES)
    commands = re.findall(rf"(?:gcseg |tools/){tool}\b([^`\n]*)", text)
    shown = {option for command in commands for option in OPTION.findall(command)}
    section = (ROOT / "docs" / "user_guide" / "train_test.md").read_text().split(f"## {tool.capitalize()}\n")[1]
    table = [line for line in section.split("\n## ")[0].splitlines() if line.startswith("|")]
    shown.update(OPTION.findall(" ".join(table)))
    parser = getattr(cli, f"{tool}_parser")(argparse.ArgumentParser())
    assert len(shown) > 4 and shown <= set(parser._option_string_actions)


def test_the_check_script_finds_its_command():
    readme = (ROOT / "README.md").read_text()
    found = re.findall(r"<!-- tests: begin -->\s*```bash\n(.*?)```\s*<!-- tests: end -->", readme, flags=re.S)
    assert [line.strip() for line in found] == ["pip install -e '.[tests]' && python -m pytest -n 2"]
