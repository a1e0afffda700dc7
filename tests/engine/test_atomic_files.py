import fcntl
import multiprocessing
import os
import signal
import stat

import pytest
from file_limit import largest_file
from mmengine import fileio
from mmengine.fileio import FileClient
from mmengine.fileio.backends import registry_utils

from gcseg.engine import atomic_files
from gcseg.engine.atomic_files import (
    AtomicLocalBackend,
    check_folder,
    held_write,
    install_atomic_files,
    remove_leftovers,
    write_atomically,
)


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
    assert ready.wait(20)
    (tmp_path / "mine.part").touch()
    assert remove_leftovers(tmp_path) == [] and len(os.listdir(tmp_path)) == 2
    os.kill(writer.pid, signal.SIGKILL)
    writer.join(20)
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


@pytest.fixture
def registries():
    tables = (registry_utils.backends, registry_utils.prefix_to_backends, FileClient._backends, FileClient._instances)
    before = [dict(table) for table in tables]
    yield
    for table, content in zip(tables, before, strict=True):
        table.clear()
        table.update(content)


def test_mmengine_writes_through_it_once_installed(tmp_path, registries):
    install_atomic_files()
    written = []
    backend = fileio.get_file_backend(str(tmp_path))
    assert type(backend) is AtomicLocalBackend
    assert type(fileio.get_file_backend(backend_args=dict(backend="local"))) is AtomicLocalBackend
    assert type(FileClient("disk").client) is AtomicLocalBackend
    original = atomic_files.write_atomically
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atomic_files, "write_atomically", lambda *a: (written.append(a[0]), original(*a)))
        backend.put(b"1", tmp_path / "bytes")
        backend.put_text("ö", tmp_path / "text")
    assert written == [tmp_path / "bytes", tmp_path / "text"]
    assert backend.get(tmp_path / "bytes") == b"1" and backend.get_text(tmp_path / "text") == "ö"


def test_a_held_write_keeps_one_file_and_lets_others_pass(tmp_path):
    backend = AtomicLocalBackend()
    with held_write(str(tmp_path / "held")) as held:
        backend.put(b"1", str(tmp_path / "held"))
        backend.put(b"2", str(tmp_path / "other"))
    assert held.data == b"1" and os.listdir(tmp_path) == ["other"]
    backend.put(b"3", str(tmp_path / "held"))
    assert (tmp_path / "held").read_bytes() == b"3" and held.data == b"1"
