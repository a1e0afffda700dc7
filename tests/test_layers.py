"""The layer rules of docs/architecture.md, read off the imports."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "gcseg"

# Row of a module by its longest matching prefix: a file imports from its own row or from a lower one.
ROWS = {
    "gcseg.cli": 6,
    "gcseg.__main__": 6,
    "gcseg.apis": 5,
    "gcseg.export": 5,
    "gcseg.analysis": 5,
    "gcseg.engine": 4,
    "gcseg.models": 3,
    "gcseg.datasets": 3,
    "gcseg.evaluation": 3,
    "gcseg.visualization": 3,
    "gcseg.registry": 2,
    "gcseg.config": 2,
    "gcseg.config_build": 2,
    "gcseg.config_check": 2,
    "gcseg.config_values": 2,
    "gcseg.ops": 1,
    "gcseg.structures": 1,
    "gcseg.metainfo": 1,
    "gcseg.utils": 1,
    "gcseg.version": 0,
    "gcseg": 1,
}
# Inside models: context and losses, then backbones and heads, then segmentors.
MODEL_ROWS = {
    "gcseg.models.context": 0,
    "gcseg.models.losses": 0,
    "gcseg.models.backbones": 1,
    "gcseg.models.decode_heads": 1,
    "gcseg.models.data_preprocessor": 1,
    "gcseg.models.segmentors": 2,
}


def row_of(module: str, rows: dict[str, int]) -> int | None:
    matches = [p for p in rows if module == p or module.startswith(p + ".")]
    return rows[max(matches, key=len)] if matches else None


def module_name(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            # `from gcseg import ops` names a module by its imported name
            found.update(f"{node.module}.{a.name}" if node.module == "gcseg" else node.module for a in node.names)
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


def test_the_files_are_found():
    assert len(FILES) > 40


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_downwards(path):
    me = module_name(path)
    my_row = row_of(me, ROWS)
    for name in imports(path):
        if not name.startswith("gcseg"):
            continue
        row = row_of(name, ROWS)
        assert row is not None and row <= my_row, f"{me} (row {my_row}) imports {name} (row {row})"
        same_subject = me.split(".")[1:2] == name.split(".")[1:2]
        assert my_row != 3 or row != 3 or same_subject, f"{me} imports its sibling {name}"
        inside_me, inside_name = row_of(me, MODEL_ROWS), row_of(name, MODEL_ROWS)
        if inside_me is not None and inside_name is not None:
            assert inside_name <= inside_me, f"{me} imports {name}, which stands above it inside models"


@pytest.mark.parametrize("folder", ["ops", "models/context"])
def test_liftable_packages_import_torch_alone(folder):
    for path in (PACKAGE / folder).rglob("*.py"):
        for name in imports(path):
            root = name.split(".")[0]
            inside = name.startswith("gcseg." + folder.replace("/", "."))
            allowed = {"torch", "triton", *sys.stdlib_module_names}
            assert inside or root in allowed, f"{path.name} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_imports_torchvision_at_module_level(path):
    assert not any(name.split(".")[0] == "torchvision" for name in imports(path, top_level_only=True))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_have_one_subject(path):
    assert len(path.read_text().splitlines()) <= 400, f"{path} is longer than 400 lines: split it by subject"
