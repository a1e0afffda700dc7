import json
from pathlib import Path

import numpy as np
import torch

from gcseg.utils.plain import plain


def test_everything_becomes_json():
    given = {1: np.float32(0.5), "t": torch.tensor([1, 2]), "p": Path("a/b"), "n": [float("inf"), (None, True, "x")]}
    found = plain(given)
    assert found == {"1": 0.5, "t": [1, 2], "p": "a/b", "n": [None, [None, True, "x"]]}
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert plain(np.array([np.nan, 1])) == [None, 1] and plain(np.bool_(True)) is True
    assert plain(object) == str(object)
