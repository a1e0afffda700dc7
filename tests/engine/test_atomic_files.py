import os

import pytest
from mmengine import fileio
from mmengine.fileio import FileClient
from mmengine.fileio.backends import registry_utils

from gcseg.engine import atomic_files
from gcseg.engine.atomic_files import AtomicLocalBackend, held_write, install_atomic_files


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
