"""Comparison with the oracle, onedl-mmsegmentation, in one process.

Run it in an environment of its own (``pip install -r requirements/parity.txt``)::

    python -m pytest tests/parity

Where ``mmseg`` cannot be imported, every module here is skipped and says why.
"""

import sys
import warnings
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _one_quiet_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    torch.set_num_threads(before)
