import hashlib
import io
import os
import urllib.error

import pytest
import torch

from gcseg.config import WEIGHTS_SUFFIXES
from gcseg.engine import weights
from gcseg.engine.checkpoint import load_checkpoint_file
from gcseg.utils import CheckpointError, WeightsNotFoundError


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("GCSEG_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    torch_dir = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path / "torch" / "hub"))
    yield tmp_path
    torch.hub.set_dir(torch_dir)
    weights.set_weights_folder(None)


def no_network(url, start):
    raise urllib.error.URLError("Temporary failure in name resolution")


def saved(content=None):
    buffer = io.BytesIO()
    torch.save(content or {"w": torch.ones(2)}, buffer)
    return buffer.getvalue()


def named(data, stem="net"):
    return f"{stem}-{hashlib.sha256(data).hexdigest()[:8]}.pth"


def test_without_a_network_the_error_says_url_name_and_folder(folders):
    url = "https://example.org/zoo/net-0123abcd.pth"
    with pytest.raises(WeightsNotFoundError) as error:
        weights.resolve_url(url, fetch=no_network)
    message = str(error.value)
    assert url in message and "net-0123abcd.pth" in message and str(folders / "weights") in message
    assert "GCSEG_WEIGHTS" in message and "name resolution" in message
    assert not list((folders / "weights").glob("*.pth"))


def test_a_folder_in_the_place_of_a_file_is_said_to_hold_its_newest_checkpoints(folders):
    run = folders / "run"
    (run / "vis_data").mkdir(parents=True)
    for age, name in enumerate(("iter_2.pth", "best_mIoU_iter_1.pth", "iter_1.pth", "run.py")):
        (run / name).touch()
        os.utime(run / name, (1e9 - age, 1e9 - age))
    with pytest.raises(
        WeightsNotFoundError, match=r"is a folder.* there is iter_2\.pth, best_mIoU_\S+, iter_1\.pth\.$"
    ):
        weights.resolve_local(run)
    with pytest.raises(WeightsNotFoundError, match=r"no such checkpoint file.* In .*run there is iter_2\.pth"):
        weights.resolve_local(run / "iter_22.pth")


def test_the_weights_folder_is_searched_first_and_needs_no_network(folders):
    data = saved()
    (folders / "weights").mkdir()
    (folders / "weights" / named(data)).write_bytes(data)
    assert weights.resolve_url(f"https://example.org/{named(data)}", fetch=no_network).read_bytes() == data
    assert torch.equal(load_checkpoint_file(f"https://example.org/{named(data)}")["state_dict"]["w"], torch.ones(2))
    assert torch.equal(load_checkpoint_file(named(data))["state_dict"]["w"], torch.ones(2))
    weights.set_weights_folder(folders / "other")
    with pytest.raises(WeightsNotFoundError, match="other"):
        weights.resolve_url(f"https://example.org/{named(data)}", fetch=no_network)


def test_a_download_is_checked_and_complete_or_absent(folders):
    data = saved()
    calls = []

    def fetch(url, start):
        calls.append(url)
        return io.BytesIO(data)

    url = f"https://example.org/a%20b/{named(data)}?x=1"
    file = weights.resolve_url(url, fetch=fetch)
    assert file == folders / "weights" / named(data) and file.read_bytes() == data
    assert weights.resolve_url(url, fetch=fetch) == file and calls == [url]
    with pytest.raises(CheckpointError, match="00000000"):
        weights.resolve_url("https://example.org/net-00000000.pth", fetch=fetch)
    assert [f.name for f in (folders / "weights").iterdir() if not f.name.endswith(".lock")] == [file.name]


def test_a_file_put_by_hand_that_is_cut_off_is_found_out(folders):
    data = saved()
    (folders / "weights").mkdir()
    (folders / "weights" / named(data)).write_bytes(data[:-1])
    with pytest.raises(CheckpointError, match="sha256"):
        weights.resolve_url(f"https://example.org/{named(data)}", fetch=no_network)


@pytest.mark.parametrize("suffix", WEIGHTS_SUFFIXES)
def test_every_suffix_of_weights_is_listed_and_its_hash_checked(folders, suffix):
    file = folders / f"net-00000000{suffix}"
    file.write_bytes(b"something else")
    with pytest.raises(WeightsNotFoundError, match=f"there is {file.name}"):
        weights.resolve_local(folders)
    with pytest.raises(CheckpointError, match="announces 00000000"):
        weights.resolve_url(f"https://example.org/{file.name}", fetch=no_network, folder=folders)


def test_hub_names():
    assert weights.hub_url("open-mmlab", "resnet50_v1c").endswith("resnet50_v1c-2cccc1ad.pth")
    assert weights.hub_url("torchvision", "resnet18").endswith(".pth")
    with pytest.raises(WeightsNotFoundError, match="resnet50_v1c"):
        weights.hub_url("open-mmlab", "resnet50_v1")


def test_a_hub_name_is_found_in_the_folder(folders, monkeypatch):
    data = saved()
    monkeypatch.setattr(weights, "_open_mmlab_urls", lambda: {"tiny": f"https://example.org/{named(data)}"})
    (folders / "weights").mkdir()
    (folders / "weights" / named(data)).write_bytes(data)
    assert torch.equal(load_checkpoint_file("open-mmlab://tiny")["state_dict"]["w"], torch.ones(2))
