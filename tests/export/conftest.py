"""One tiny data set, config and checkpoint, and the files exported from them, for all tests of this folder."""

import subprocess
import sys
from pathlib import Path

import pytest
import tiny_run
import torch

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory):
    """Six pictures of 48 x 40, three classes, a network of four channels."""
    return tiny_run.write(tmp_path_factory.mktemp("exported_data"))


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_config, tmp_path_factory):
    """Random weights whose predictions use all classes, and running statistics that are not the default ones."""
    from gcseg.apis import init_model

    model = init_model(tiny_config, device="cpu")
    g = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("running_mean"):
                value.normal_(generator=g)
            elif name.endswith("running_var"):
                value.uniform_(0.5, 2, generator=g)
            elif value.ndim == 1 and value.dtype == torch.float32:
                value.uniform_(0.5, 1.5, generator=g)
            elif value.ndim > 1:
                value.normal_(std=0.25, generator=g)
        images = 50 * torch.rand(4, 3, 64, 64, generator=g).round()
        images = torch.nn.functional.interpolate(images[..., :8, :8], (64, 64)) - 25
        scores = model(images / 25)
        last = model.decode_head.conv_seg
        last.weight /= scores.std((0, 2, 3))[:, None, None, None]
        last.bias.copy_(-(model(images / 25) - last.bias[:, None, None]).mean((0, 2, 3)))
    path = tmp_path_factory.mktemp("exported_weights") / "tiny.pth"
    meta = dict(classes=("left", "right", "odd"), palette=[[255, 0, 0], [0, 255, 0], [0, 0, 255]])
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=meta)), path)
    return path


@pytest.fixture(scope="session")
def labels_file(tiny_config, tiny_checkpoint, tmp_path_factory):
    """ONNX, uint8 images to labels, written by the tool into a folder that was not there; with what it printed."""
    file = tmp_path_factory.mktemp("onnx") / "new" / "tiny.onnx"
    done = subprocess.run(
        [sys.executable, ROOT / "tools/deployment/export.py", tiny_config, tiny_checkpoint, "--out", file],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return file, done
