"""The programs of docs/deployment.md run as they stand, in an interpreter that has no gcseg."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gcseg.export import ExportedModel

PAGE = Path(__file__).parents[2] / "docs" / "deployment.md"
OLD = tuple(int(n) for n in torch.__version__.split(".")[:2]) < (2, 7)


@pytest.mark.skipif(OLD, reason="torch.export keeps sizes open from torch 2.7 on")
def test_the_program_for_onnx_needs_neither_gcseg_nor_torch(labels_file, tmp_path):
    program = next(code for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S) if "InferenceS" in code)
    photograph = np.random.default_rng(2).integers(0, 256, (5, 6, 3), dtype=np.uint8).repeat(9, 0).repeat(8, 1)
    Image.fromarray(photograph).save(tmp_path / "street.jpg", quality=95)
    photograph = np.asarray(Image.open(tmp_path / "street.jpg"))
    shutil.copy(labels_file[0], tmp_path / "model.onnx")
    blocked = "import sys; sys.modules.update(dict.fromkeys(['gcseg', 'torch', 'mmengine', 'mmcv']))\n"
    done = subprocess.run(
        [sys.executable, "-c", blocked + program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    labels = np.asarray(Image.open(tmp_path / "labels.png"))
    assert np.array_equal(labels, ExportedModel(labels_file[0])(photograph[None])[0])
    assert all(name in done.stdout for name in ("left", "right", "odd")[: len(np.unique(labels))])
