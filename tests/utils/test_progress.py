"""Words for what is long and no loop, and the bar in a log file."""

import time

import pytest

from gcseg.utils.progress import announced, progress


def test_work_that_is_silent_is_spoken_for(capsys):
    with announced("writing", every=0.05):
        time.sleep(0.5)
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("writing ...\n") and "writing: 0 s so far" in said.err
    time.sleep(0.2)
    assert capsys.readouterr().err == "", "it ends with the work"
    with pytest.raises(ValueError, match="of the work"), announced("writing", every=0.05):
        raise ValueError("of the work")


def test_a_log_file_gets_few_lines(capsys):
    assert list(progress(range(2000), desc="counting")) == list(range(2000))
    said = capsys.readouterr().err
    assert "counting: 100%" in said and said.count("counting") < 5
