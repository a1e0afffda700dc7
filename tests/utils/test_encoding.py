"""Text files are UTF-8 wherever they are read and written, and not what the locale says."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]


def without_encoding(source):
    """Lines of the calls of ``read_text`` and ``write_text`` that leave the encoding to the locale."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [
        call.lineno
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in ("read_text", "write_text")
        and "encoding" not in {keyword.arg for keyword in call.keywords}
    ]


def test_no_text_is_left_to_the_locale():
    assert without_encoding('a.read_text()\nb.write_text(t, encoding="utf-8")\nc.d.write_text(t)') == [1, 3]
    files = [file for folder in ("gcseg", "tools") for file in (ROOT / folder).rglob("*.py")]
    found = {str(file.relative_to(ROOT)): without_encoding(file.read_text(encoding="utf-8")) for file in files}
    assert len(found) > 200 and not {file: lines for file, lines in found.items() if lines}
