"""The config reference that the documentation makes from the code."""

import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
sys.path.insert(0, str(DOCS))

import reference_pages  # noqa: E402

PARTS = [
    pytest.param(page, registry_name, kind, cls, id=f"{page}-{kind}")
    for page, (_, _, sources) in reference_pages.PAGES.items()
    for registry_name, packages in sources
    for kind, cls in reference_pages.registered(registry_name, packages).items()
    if cls.__module__.startswith("gcseg.")
]


def test_every_model_part_has_its_page():
    shown = {part.values[2] for part in PARTS}
    assert len(shown) > 60 and {"GCHead", "EncoderDecoder", "RandomCrop", "IoUMetric", "CheckpointHook"} <= shown
    registered = {
        name for name, cls in reference_pages.registered("MODELS").items() if cls.__module__.startswith("gcseg.")
    }
    assert registered <= shown


@pytest.mark.parametrize(("page", "registry_name", "kind", "cls"), PARTS)
def test_every_option_is_explained(page, registry_name, kind, cls):
    lines = reference_pages.section(kind, cls, registry_name)
    assert lines[0] == f"## {kind}" and len(lines[2]) > 15
    options = reference_pages.options(cls, registry_name)
    assert [name for name in options if not reference_pages.description(cls, name)] == []
    rows = [line for line in lines if line.startswith("| `")]
    assert len(rows) == len(options) and all(f"| `{name}` |" in row for name, row in zip(options, rows, strict=True))


def test_texts_become_markdown():
    assert reference_pages.as_markdown("see :class:`~gcseg.models.GCHead`, ``a=1``") == "see `GCHead`, `a=1`"
    before, arguments = reference_pages.described(reference_pages.registered("MODELS")["GCHead"])
    assert before.startswith("GCNet's head") and arguments["ratio"].startswith("channels inside the block")
