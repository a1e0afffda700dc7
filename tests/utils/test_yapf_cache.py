import os
import pickle
import subprocess
import sys

import pytest

from gcseg.utils import yapf_cache
from gcseg.utils.yapf_cache import import_yapf


def test_a_grammar_that_is_being_written_is_waited_for(monkeypatch):
    answers = [EOFError("Ran out of input"), pickle.UnpicklingError("pickle data was truncated"), None]

    def load(name):
        assert name == "yapf"
        answer = answers.pop(0)
        if answer is not None:
            raise answer

    monkeypatch.setattr(yapf_cache, "import_module", load)
    import_yapf()
    assert answers == []


def test_not_for_ever(monkeypatch):
    def load(name):
        raise EOFError("Ran out of input")

    monkeypatch.setattr(yapf_cache, "import_module", load)
    with pytest.raises(EOFError):
        import_yapf(patience=0.2)


CODE = """
import sys
from importlib import import_module
from pathlib import Path
from gcseg.utils import yapf_cache

tries = []

def load(name):
    tries.append(name)
    if len(tries) == 2:
        for half in sys.argv[1:]:
            Path(half).unlink()
    return import_module(name)

yapf_cache.import_module = load
yapf_cache.import_yapf()
import mmengine.config
print(len(tries))
"""


def test_a_failed_import_can_be_tried_again(tmp_path):
    """With yapf itself: half a file at the first try, none at the second."""
    pytest.importorskip("yapf")
    env = os.environ | dict(XDG_CACHE_HOME=str(tmp_path))

    def run(*halves):
        return subprocess.run([sys.executable, "-c", CODE, *halves], env=env, capture_output=True, text=True)

    assert run().stdout.split() == ["1"]
    files = [file for file in tmp_path.rglob("*.pickle") if file.stat().st_size]
    assert len(files) == 2
    for file in files:
        os.truncate(file, file.stat().st_size // 2)
    done = run(*files)
    assert done.stdout.split() == ["2"], done.stderr
    assert all(file.is_file() for file in files)
