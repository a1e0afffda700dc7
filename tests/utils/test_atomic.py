import fcntl
import multiprocessing
import os
import signal
import stat

import pytest
from file_limit import largest_file

from gcseg.utils.atomic import check_folder, new_file, remove_leftovers, write_atomically


def test_content_is_replaced_and_folders_are_made(tmp_path):
    file = tmp_path / "a" / "b" / "c.bin"
    write_atomically(file, b"old")
    write_atomically(str(file), memoryview(b"new content"))
    assert file.read_bytes() == b"new content" and os.listdir(file.parent) == ["c.bin"]


def test_the_file_is_as_readable_as_any_other(tmp_path):
    (tmp_path / "usual").write_bytes(b"")
    write_atomically(tmp_path / "ours", b"")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("usual", "ours")}
    assert len(modes) == 1


def test_a_write_that_fails_midway_leaves_the_old_file_and_nothing_else(tmp_path):
    file = tmp_path / "a.bin"
    file.write_bytes(b"old")
    with largest_file(5000), pytest.raises(OSError, match="too large"):
        write_atomically(file, bytes(100_000))
    assert file.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.bin"]


def test_nothing_is_renamed_before_it_is_on_the_disk(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, name=name, real=real: (calls.append(name), real(*a))[1])
    write_atomically(tmp_path / "a", b"1")
    assert calls == ["fsync", "replace", "fsync"]  # file, name, folder


def test_a_link_is_followed_and_a_device_is_left_a_device(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_bytes() == b"new"
    write_atomically("/dev/null", b"1")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def write_and_stop(folder, ready):
    def stop_in_the_middle(descriptor):
        ready.set()
        signal.pause()

    os.fsync = stop_in_the_middle
    write_atomically(folder / "a", b"1")


def test_only_the_unfinished_files_of_dead_writers_are_removed(tmp_path):
    fork = multiprocessing.get_context("fork")
    ready = fork.Event()
    writer = fork.Process(target=write_and_stop, args=(tmp_path, ready))
    writer.start()
    assert ready.wait(300)
    (tmp_path / "mine.part").touch()
    assert remove_leftovers(tmp_path) == [] and len(os.listdir(tmp_path)) == 2
    os.kill(writer.pid, signal.SIGKILL)
    writer.join(300)
    assert len(remove_leftovers(tmp_path)) == 1 and os.listdir(tmp_path) == ["mine.part"]


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    write_atomically(tmp_path / "a", b"1")
    assert (tmp_path / "a").read_bytes() == b"1"
    (tmp_path / ".gcseg-1-2.part").touch()
    assert remove_leftovers(tmp_path) == []


def test_a_folder_is_tried_before_it_is_needed(tmp_path):
    check_folder(tmp_path / "new" / "folder")
    assert os.listdir(tmp_path / "new" / "folder") == []
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        check_folder(tmp_path / "file" / "below")
    with largest_file(0), pytest.raises(OSError, match="too large"):
        check_folder(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["file", "new"]


def test_a_new_file_stands_when_its_block_ended_well(tmp_path):
    file = tmp_path / "folder" / "a"
    with new_file(file) as f:
        f.write(b"new")
        assert not file.exists() and len(os.listdir(file.parent)) == 1
    assert file.read_bytes() == b"new"
    with pytest.raises(RuntimeError), new_file(file) as f:
        f.write(b"newer")
        raise RuntimeError
    assert file.read_bytes() == b"new" and os.listdir(file.parent) == ["a"]
