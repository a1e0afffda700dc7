import pytest
import torch

from gcseg.engine import resume
from gcseg.engine.resume import prepare_resume, verify_checkpoint


def save(file, value=0.0):
    torch.save({"state_dict": {"w": torch.full((1000,), value)}}, file)
    return file


def test_a_flipped_bit_that_torch_would_load_is_found(tmp_path):
    file = save(tmp_path / "iter_1.pth", 1.0)
    assert verify_checkpoint(file) is None
    data = bytearray(file.read_bytes())
    at = data.find(torch.ones(100).numpy().tobytes())
    data[at + 2] ^= 1
    file.write_bytes(data)
    assert not torch.equal(torch.load(file, weights_only=True)["state_dict"]["w"], torch.ones(1000))
    assert "data" in verify_checkpoint(file)
    file.write_bytes(data[:-100])
    assert verify_checkpoint(file)


def test_the_newest_whole_file_is_taken_whatever_the_marker_says(tmp_path):
    assert prepare_resume(tmp_path) is None
    old, new = save(tmp_path / "iter_900.pth"), save(tmp_path / "iter_1000.pth")
    save(tmp_path / "best_mIoU_iter_1100.pth")  # without the optimizer
    marker = tmp_path / "last_checkpoint"
    marker.write_text("/moved/away/iter_900.pth")
    assert prepare_resume(tmp_path) == new and marker.read_text() == str(new)
    new.write_bytes(new.read_bytes()[:50])
    assert prepare_resume(tmp_path) == old and marker.read_text() == str(old)
    old.write_bytes(b"")
    assert prepare_resume(tmp_path) is None


DAMAGE = {
    "truncated": (lambda data: data[:-100], "cut off after"),
    "bit flipped": (lambda data: data[:700] + bytes([data[700] ^ 1]) + data[701:], "damaged"),
    "empty": (lambda data: b"", "it is empty (0 bytes)"),
    "filled with zeros": (lambda data: bytes(len(data)), "it begins with zeros"),
    "another format": (lambda data: b"<html>" + data, "no zip container"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_passed_over_is_named_with_the_reason(tmp_path, damage, monkeypatch):
    said = []
    monkeypatch.setattr(resume, "print_log", lambda text, **_: said.append(text))
    change, reason = DAMAGE[damage]
    old, new = save(tmp_path / "iter_900.pth"), save(tmp_path / "iter_1000.pth")
    new.write_bytes(change(new.read_bytes()))
    assert prepare_resume(tmp_path) == old and verify_checkpoint(old) is None
    assert len(said) == 1 and f"passed over {new}" in said[0] and reason in said[0]
    assert (tmp_path / "last_checkpoint").read_text() == str(old)


def test_a_flipped_bit_anywhere_is_found_or_changes_nothing(tmp_path):
    file = tmp_path / "iter_1.pth"
    torch.save({"state_dict": {"w": torch.ones(10)}}, file)
    whole, found = file.read_bytes(), 0
    # One bit of every other byte; and that by which a record counts as a folder, which torch would leave unread.
    flips = [(at, at % 8) for at in range(0, len(whole), 2)]
    at = whole.find(b"PK\1\2")
    while at >= 0:
        flips.append((at + 38, 4))
        at = whole.find(b"PK\1\2", at + 1)
    for at, bit in flips:
        file.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << bit)]) + whole[at + 1 :])
        if verify_checkpoint(file):
            found += 1
            continue
        try:
            loaded = torch.load(file, weights_only=True)
        except Exception:
            continue  # refused all the same
        assert torch.equal(loaded["state_dict"]["w"], torch.ones(10)), (at, bit)
    assert found > len(whole) / 6  # the rest is padding, dates, and what torch itself refuses


def test_checksums_that_were_never_computed_are_not_missed(tmp_path):
    if not hasattr(torch.serialization, "set_crc32_options"):
        pytest.skip("this torch always computes them")
    torch.serialization.set_crc32_options(False)
    try:
        assert verify_checkpoint(save(tmp_path / "iter_1.pth")) is None
    finally:
        torch.serialization.set_crc32_options(True)


def test_a_folder_elsewhere_is_known_from_the_marker(tmp_path):
    work, out = tmp_path / "work", tmp_path / "out"
    work.mkdir(), out.mkdir()
    files = [save(out / f"iter_{i}.pth") for i in (5, 10, 15)]
    marker = work / "last_checkpoint"
    marker.write_text(str(files[1]))
    assert prepare_resume(work) == files[1]  # 15 may be another run's
    files[1].write_bytes(b"")
    assert prepare_resume(work) == files[0] and marker.read_text() == str(files[0])
    mine = save(work / "iter_2.pth")
    assert prepare_resume(work) == mine


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"\0", b"/", b"no/such/iter_3.pth"], ids=repr)
def test_a_marker_that_says_nothing_is_no_matter(tmp_path, content):
    (tmp_path / "last_checkpoint").write_bytes(content)
    assert prepare_resume(tmp_path) is None
    assert prepare_resume(save(tmp_path / "iter_3.pth").parent) == tmp_path / "iter_3.pth"
