import importlib.util
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def call(capsys):
    """Run a tool's ``main`` in this process; gives (exit code, stdout, stderr)."""

    def run(tool, *args):
        spec = importlib.util.spec_from_file_location(Path(tool).stem, TOOLS / tool)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        code = module.main([str(a) for a in args])
        return code, *capsys.readouterr()

    return run
