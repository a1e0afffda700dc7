import hashlib

import pytest
import torch

from gcseg.engine.checkpoint import load_checkpoint_file
from gcseg.export import publish_checkpoint
from gcseg.utils import CheckpointError


@pytest.fixture
def checkpoint(tmp_path):
    weights = {"module.a": torch.arange(6.0).view(2, 3), "module.b": torch.tensor([1, 2])}
    meta = dict(
        dataset_meta=dict(classes=("x", "y"), palette=[[1, 2, 3], [4, 5, 6]]),
        cfg="model = dict(type='X')",
        iter=7,
        experiment_name="secret_20200101",
    )
    path = tmp_path / "iter_7.pth"
    torch.save(dict(state_dict=weights, meta=meta, optimizer=dict(state=torch.zeros(9999)), message_hub={}), path)
    return path


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_output_is_small_loads_and_carries_its_own_hash(checkpoint, tmp_path, suffix):
    before = checkpoint.read_bytes()
    out = publish_checkpoint(checkpoint, tmp_path / "sub" / f"model{suffix}")
    digest = hashlib.sha256(out.read_bytes()).hexdigest()
    assert out.name == f"model-{digest[:8]}{suffix}"
    assert checkpoint.read_bytes() == before
    assert out.stat().st_size < 5000
    assert [p.name for p in out.parent.iterdir()] == [out.name]

    loaded = load_checkpoint_file(out)
    assert torch.equal(loaded["state_dict"]["a"], torch.arange(6.0).view(2, 3))
    assert torch.equal(loaded["state_dict"]["b"], torch.tensor([1, 2]))
    assert set(loaded["state_dict"]) == {"a", "b"}
    assert "optimizer" not in loaded
    meta = loaded["meta"]
    assert tuple(meta["dataset_meta"]["classes"]) == ("x", "y")
    assert (meta["cfg"], meta["iter"]) == ("model = dict(type='X')", 7)
    assert b"secret" not in out.read_bytes()


def test_the_name_does_not_depend_on_where_it_is_written(checkpoint, tmp_path):
    first = publish_checkpoint(checkpoint, tmp_path / "a.pth")
    again = publish_checkpoint(first, tmp_path / "other" / first.name)
    assert again.name == first.name
    assert again.read_bytes() == first.read_bytes()


def test_errors(checkpoint, tmp_path):
    with pytest.raises(CheckpointError, match=r"\.pth or \.safetensors"):
        publish_checkpoint(checkpoint, tmp_path / "a.onnx")


def test_a_flipped_bit_in_published_safetensors_is_found(checkpoint, tmp_path):
    out = publish_checkpoint(checkpoint, tmp_path / "model.safetensors")
    meta = load_checkpoint_file(out)["meta"]
    assert "crc32" not in meta and meta["iter"] == 7
    data = bytearray(out.read_bytes())
    data[-3] ^= 1
    out.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"model-.*safetensors: the checkpoint is damaged: the checksum"):
        load_checkpoint_file(out)


def test_others_read_our_safetensors_and_we_theirs(checkpoint, tmp_path):
    from safetensors.torch import load_file, save_file

    out = publish_checkpoint(checkpoint, tmp_path / "model.safetensors")
    assert torch.equal(load_file(out)["b"], torch.tensor([1, 2]))
    save_file(load_file(out), tmp_path / "theirs.safetensors")
    assert torch.equal(load_checkpoint_file(tmp_path / "theirs.safetensors")["state_dict"]["b"], torch.tensor([1, 2]))


def test_a_folder_that_cannot_be_written(checkpoint, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"file/below/a-.*\.pth: cannot be written"):
        publish_checkpoint(checkpoint, tmp_path / "file" / "below" / "a.pth")
