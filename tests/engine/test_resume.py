import torch

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
    save(tmp_path / "best_mIoU_iter_1000.pth")
    marker = tmp_path / "last_checkpoint"
    marker.write_text("/moved/away/iter_900.pth")
    assert prepare_resume(tmp_path) in (new, tmp_path / "best_mIoU_iter_1000.pth")
    (tmp_path / "best_mIoU_iter_1000.pth").unlink()
    assert prepare_resume(tmp_path) == new and marker.read_text() == str(new)
    new.write_bytes(new.read_bytes()[:50])
    assert prepare_resume(tmp_path) == old and marker.read_text() == str(old)
    old.write_bytes(b"")
    assert prepare_resume(tmp_path) is None
