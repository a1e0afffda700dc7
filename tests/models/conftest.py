import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # model_contract, which the tests in the folders below inherit


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
