import collections
import os
import pickle

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from gcseg.engine.checkpoint import install_safe_loader, load_checkpoint_file, normalise_checkpoint
from gcseg.engine.unpickle import safe_torch_load
from gcseg.utils import CheckpointError, WeightsNotFoundError

WEIGHTS = {"conv.weight": torch.arange(6.0).reshape(2, 3)}


class Payload:
    """Calls ``function(*args)`` when unpickled without care."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def history(*values):
    buffer = HistoryBuffer()
    for value in values:
        buffer.update(value)
    return buffer


def test_mmengine_checkpoint_comes_back_with_its_logs_and_numpy_values(tmp_path):
    file = tmp_path / "a.pth"
    content = {
        "meta": {
            "iter": 7,
            "seed": np.int64(3),
            "dataset_meta": {"classes": ("a", "b"), "palette": np.array([[1, 2, 3], [4, 5, 6]], np.uint8)},
        },
        "state_dict": collections.OrderedDict(WEIGHTS),
        "message_hub": {"log_scalars": {"train/loss": history(3.0, 1.0, 2.0)}, "metric": np.float64(0.25)},
        "param_schedulers": [{"milestones": collections.Counter([2, 5, 5])}],
    }
    torch.save(content, file)
    loaded = load_checkpoint_file(file)
    assert torch.equal(loaded["state_dict"]["conv.weight"], WEIGHTS["conv.weight"])
    buffer = loaded["message_hub"]["log_scalars"]["train/loss"]
    assert type(buffer) is HistoryBuffer
    assert buffer.data[0].tolist() == [3.0, 1.0, 2.0] and buffer.statistics("min") == 1.0
    buffer.update(4.0)
    assert buffer.current() == 4.0
    assert loaded["message_hub"]["metric"] == 0.25 and isinstance(loaded["message_hub"]["metric"], np.float64)
    assert loaded["meta"]["seed"] == 3
    palette = loaded["meta"]["dataset_meta"]["palette"]
    assert type(palette) is np.ndarray and palette.dtype == np.uint8 and palette.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert loaded["param_schedulers"][0]["milestones"] == {2: 1, 5: 2}
    torch.save(loaded, tmp_path / "again.pth")  # nothing of ours is in what comes back
    assert b"gcseg" not in (tmp_path / "again.pth").read_bytes()


@pytest.mark.parametrize("name", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_either_numpy_reads_what_the_other_wrote(tmp_path, name):
    file = tmp_path / "a.pth"
    torch.save({"state_dict": WEIGHTS, "meta": {"x": np.float32(1.5)}}, file, pickle_protocol=2)
    raw = file.read_bytes()
    ours = next(n for n in (b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n") if n in raw)
    content = pickle.dumps({"x": np.array([[1.0, 2.0], [3.0, 4.0]], order="F"), "s": np.float32(1.5)}, protocol=2)
    legacy = tmp_path / "b.pkl"  # torch's old container: magic, protocol, system info, object, storage keys
    content = content.replace(ours, f"c{name}\n".encode())
    with open(legacy, "wb") as f:
        for header in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
            pickle.dump(header, f, protocol=2)
        f.write(content)
        pickle.dump([], f, protocol=2)
    loaded = safe_torch_load(legacy)
    assert loaded["s"] == np.float32(1.5) and loaded["x"].tolist() == [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize(
    "payload, named",
    [
        (Payload(os.system, "touch {mark}"), "system"),
        (Payload(eval, "open({mark!r}, 'w')"), "eval"),
        (Payload(getattr, os, "getcwd"), "os"),
        (Payload(getattr, HistoryBuffer, "__init__"), "getattr"),
        (Payload(np.load, "{mark}"), "load"),
        (Payload(collections.namedtuple, "a", "b"), "namedtuple"),
    ],
)
def test_a_malicious_file_is_refused_by_name_and_runs_nothing(tmp_path, payload, named):
    mark, file = tmp_path / "mark", tmp_path / "evil.pth"
    function, args = payload.call
    payload.call = (function, tuple(a.format(mark=str(mark)) if isinstance(a, str) else a for a in args))
    try:
        torch.save({"state_dict": WEIGHTS, "meta": payload}, file)
    except (pickle.PicklingError, TypeError):  # a module is not picklable: name it by hand
        text = b"\x80\x02cbuiltins\ngetattr\ncos\ngetcwd\nX\x01\x00\x00\x00a\x86R."
        file.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2) + text)
    with pytest.raises(CheckpointError, match=named) as error:
        load_checkpoint_file(file)
    assert "\n" not in str(error.value) and str(file) in str(error.value)
    assert not mark.exists()


def test_a_list_of_allowed_globals_elsewhere_does_not_open_the_door(tmp_path):
    file = tmp_path / "evil.pth"
    torch.save({"state_dict": WEIGHTS, "meta": Payload(getattr, HistoryBuffer, "update")}, file)
    before = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals([getattr])
    try:
        with pytest.raises(CheckpointError, match="getattr"):
            load_checkpoint_file(file)
        assert getattr in torch.serialization.get_safe_globals()
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def test_damaged_and_foreign_files_are_named(tmp_path):
    whole = tmp_path / "whole.pth"
    torch.save({"state_dict": WEIGHTS}, whole)
    cut = tmp_path / "cut.pth"
    cut.write_bytes(whole.read_bytes()[:-40])
    text = tmp_path / "text.pth"
    text.write_text("<html>not found</html>")
    for file in (cut, text):
        with pytest.raises(CheckpointError, match=file.name):
            load_checkpoint_file(file)
    empty = tmp_path / "empty.pth"
    torch.save({"optimizer": {}}, empty)
    with pytest.raises(CheckpointError, match=r"no weights.*optimizer"):
        load_checkpoint_file(empty)


def test_old_meta_becomes_dataset_meta_and_config_text_is_dropped():
    old = {"meta": {"CLASSES": ("a",), "PALETTE": [[1, 2, 3]], "config": "import os"}, "state_dict": WEIGHTS}
    meta = normalise_checkpoint(old)["meta"]
    assert meta["dataset_meta"] == {"classes": ("a",), "palette": [[1, 2, 3]]}
    assert "config" not in meta
    upper = {"meta": {"dataset_meta": {"CLASSES": ("b",)}}, "state_dict": WEIGHTS}
    assert normalise_checkpoint(upper)["meta"]["dataset_meta"] == {"classes": ("b",)}
    assert normalise_checkpoint(dict(WEIGHTS))["state_dict"] == WEIGHTS


def test_safetensors(tmp_path):
    from safetensors.torch import save_file

    save_file(WEIGHTS, tmp_path / "w.safetensors", metadata={"dataset_meta": '{"classes": ["a"]}', "note": "plain"})
    loaded = load_checkpoint_file(tmp_path / "w.safetensors")
    assert torch.equal(loaded["state_dict"]["conv.weight"], WEIGHTS["conv.weight"])
    assert loaded["meta"] == {"dataset_meta": {"classes": ["a"]}, "note": "plain"}
    (tmp_path / "bad.safetensors").write_bytes(b"123")
    with pytest.raises(CheckpointError, match=r"bad\.safetensors"):
        load_checkpoint_file(tmp_path / "bad.safetensors")


def test_a_missing_file_gets_the_nearest_name(tmp_path):
    torch.save(WEIGHTS, tmp_path / "iter_4000.pth")
    with pytest.raises(WeightsNotFoundError, match=r"iter_4000\.pth"):
        load_checkpoint_file(tmp_path / "iter_400.pth")


def test_mmengine_loads_through_the_door_once_it_is_installed(tmp_path):
    from mmengine.runner import CheckpointLoader

    schemes = CheckpointLoader._schemes
    try:
        install_safe_loader()
        file = tmp_path / "a.pth"
        torch.save({"state_dict": WEIGHTS, "meta": Payload(os.system, "true")}, file)
        with pytest.raises(CheckpointError, match="system"):
            CheckpointLoader.load_checkpoint(str(file))
        torch.save({"state_dict": WEIGHTS, "h": history(1.0)}, file)
        assert CheckpointLoader.load_checkpoint(str(file))["h"].current() == 1.0
        with pytest.raises(CheckpointError, match="s3://"):
            CheckpointLoader.load_checkpoint("s3://bucket/a.pth")
    finally:
        CheckpointLoader._schemes = schemes


def test_a_text_file_is_named_without_the_advice_to_load_it_unsafely(tmp_path):
    page = tmp_path / "weights.pth"
    page.write_text("<!DOCTYPE html><html>404</html>")
    with pytest.raises(CheckpointError, match=r"weights\.pth: not a readable checkpoint.*download it again") as caught:
        load_checkpoint_file(page)
    assert "weights_only" not in str(caught.value)


def flip(file, at):
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("route", ["path", "weights folder", "http", "mmengine"])
def test_a_flipped_bit_in_the_weights_is_found_on_every_way_in(tmp_path, monkeypatch, route):
    from mmengine.runner import CheckpointLoader

    file = tmp_path / "a.pth"
    torch.save({"state_dict": {"w": torch.ones(1000)}}, file)
    flip(file, file.read_bytes().find(np.ones(100, np.float32).tobytes()) + 2)
    assert not torch.equal(torch.load(file, weights_only=True)["state_dict"]["w"], torch.ones(1000))
    monkeypatch.setenv("GCSEG_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(CheckpointLoader, "_schemes", CheckpointLoader._schemes)
    install_safe_loader()
    name = {"weights folder": "elsewhere/a.pth", "http": "https://example.invalid/x/a.pth"}.get(route, str(file))
    load = CheckpointLoader.load_checkpoint if route == "mmengine" else load_checkpoint_file
    with pytest.raises(CheckpointError, match=r"a\.pth: the checkpoint is damaged: its record a/data/0.*Copy"):
        load(name)


@pytest.mark.parametrize(
    "content, said", [(b"", "empty"), (bytes(500), "zeros"), (b"PK\x03\x04rest", "cut off after 8")]
)
def test_files_whose_content_never_arrived(tmp_path, content, said):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=said):
        load_checkpoint_file(tmp_path / "a.pth")


def test_the_old_container_has_no_checksums_and_is_read(tmp_path):
    torch.save({"state_dict": WEIGHTS}, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(load_checkpoint_file(tmp_path / "a.pth")["state_dict"]["conv.weight"], WEIGHTS["conv.weight"])
