"""Words for what is long and no loop, and the bar in a log file."""

import io
import re
import sys
import threading
import time

import pytest

from gcseg.utils.progress import announced, progress


def test_work_that_is_silent_is_spoken_for(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    before, until = set(threading.enumerate()), time.monotonic() + 300
    with announced("writing", every=0.05):
        while sys.stderr.getvalue().count("\n") < 3 and time.monotonic() < until:
            time.sleep(0.01)
    assert re.match(r"writing \.\.\.\n(writing: \d+ s so far\n){2}", sys.stderr.getvalue())
    assert set(threading.enumerate()) <= before, "it ends with the work"
    with pytest.raises(ValueError, match="of the work"), announced("writing", every=0.05):
        raise ValueError("of the work")


def test_a_log_file_gets_few_lines(capsys):
    assert list(progress(range(2000), desc="counting")) == list(range(2000))
    said = capsys.readouterr().err
    assert "counting: 100%" in said and said.count("counting") < 5
