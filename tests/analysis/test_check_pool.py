"""Jobs in several processes, of which one dies."""

from __future__ import annotations

import os
import signal
import struct

import pytest

from gcseg.analysis.data_check.pool import run_all


def _square(number):
    if number == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


@pytest.mark.parametrize("workers", [1, 3])
def test_a_pool_survives_the_death_of_a_process(workers):
    results = dict(run_all(_square, range(50), workers, lambda number: -number))
    assert results == {n: n * n if n != 13 else -13 for n in range(50)}


def test_an_error_in_a_pool_is_not_swallowed():
    with pytest.raises(struct.error):
        dict(run_all(struct.pack, ["i"], 1, lambda job: None))
    with pytest.raises(struct.error):
        dict(run_all(struct.pack, ["i"], 0, lambda job: None))
