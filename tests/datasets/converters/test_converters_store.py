"""A decoded store holds the decoded bytes, is written once, and gone on with after whatever stopped it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from gcseg.datasets.converters import store as writer
from gcseg.datasets.converters.store import readable, write_store
from gcseg.datasets.store import read_index
from gcseg.datasets.transforms import loading
from gcseg.registry import DATASETS
from gcseg.utils import ConfigError, DataError


def write_files(root: Path, number=5) -> Path:
    rng = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (root / kind / "town").mkdir(parents=True)
    for index in range(number):
        picture = rng.integers(0, 256, (20, 30 + index, 3), dtype=np.uint8)
        Image.fromarray(picture).save(root / "images" / "town" / f"{index}.jpg")
        label = (picture[..., 0] // 86).astype(np.uint8)
        label[:3] = 255
        Image.fromarray(label).save(root / "labels" / "town" / f"{index}.png")
    return root


@pytest.fixture
def root(tmp_path):
    """Five pairs of 20x30 to 20x34, images JPEG, labels 0 to 2 and 255."""
    return write_files(tmp_path / "data")


def pairs(root, **options):
    return DATASETS.build(
        {
            "type": "BaseSegDataset",
            "data_root": str(root),
            "data_prefix": {"img_path": "images", "seg_map_path": "labels"},
            "metainfo": {"classes": ("a", "b", "c")},
            "pipeline": [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}],
            **options,
        }
    )


@pytest.fixture
def decoded(monkeypatch):
    """Names of the files that were decoded."""
    found = []
    decode = loading._decode

    def counted(content, path, *args):
        found.append(Path(path).name)
        return decode(content, path, *args)

    monkeypatch.setattr(loading, "_decode", counted)
    return found


def write(dataset, folder, lines=None, **options):
    datasets = dataset if isinstance(dataset, list) else [dataset]
    return write_store(datasets, folder, say=(lambda line: None) if lines is None else lines.append, **options)


def test_bytes_are_those_of_the_decoded_files(root, tmp_path):
    lines = []
    report = write(pairs(root), tmp_path / "store", lines)
    size = 4 * 20 * sum(range(30, 35))
    assert report == (10, 0, size)
    assert len(lines) == 1 and lines[0].startswith(f"10 files to decode: 40.0 KiB to write into {tmp_path / 'store'}, ")
    index = read_index(str(tmp_path / "store"))
    assert len(index) == 10
    for number in range(5):
        image, label = index["image", f"images/town/{number}.jpg"], index["label", f"labels/town/{number}.png"]
        assert image.shape == (20, 30 + number, 3) and image.values is None
        assert label.shape == (20, 30 + number) and label.values == (0, 1, 2, 255)
        for record, flag in ((image, cv2.IMREAD_COLOR), (label, cv2.IMREAD_UNCHANGED)):
            stored = np.fromfile(record.file(str(tmp_path / "store")), np.uint8).reshape(record.shape)
            source = root / record.name
            assert (stored == cv2.imread(str(source), flag)).all()
            assert (record.size, record.mtime_ns) == (source.stat().st_size, source.stat().st_mtime_ns)
    files = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert len(files) == 12 and not [path for path in files if path.suffix == ".part"]  # with the index and the lock


def test_a_second_call_decodes_what_is_new_or_changed(root, tmp_path, decoded):
    folder, lines = tmp_path / "store", []
    write(pairs(root, indices=3), folder)
    assert sorted(decoded) == sorted(f"{i}.{ending}" for i in range(3) for ending in ("jpg", "png"))
    decoded.clear()
    assert write(pairs(root, indices=3), folder, lines)[:2] == (0, 6)
    assert not decoded and lines[-1].startswith("0 files to decode, 6 are there already: 0 bytes to write")
    Image.fromarray(np.ones((20, 31), np.uint8)).save(root / "labels" / "town" / "1.png")
    (folder / "image" / "images" / "town" / "0.jpg.raw").unlink()
    assert write(pairs(root), folder)[:2] == (6, 4)
    assert sorted(decoded) == ["0.jpg", "1.png", "3.jpg", "3.png", "4.jpg", "4.png"]
    assert len(pairs(root, store=str(folder))) == 5
    assert pairs(root, store=str(folder))[1]["gt_seg_map"].min() == 1
    lines = (folder / "index.jsonl").read_text().splitlines()
    assert len(lines) == 11 and json.loads(lines[0]) == {"gcseg store": 2}


@pytest.mark.parametrize("torn", ["", '["image","images/to'])
def test_goes_on_after_an_interruption(root, tmp_path, decoded, monkeypatch, torn):
    folder = tmp_path / "store"
    append = writer._append

    def interrupted(file, record):
        append(file, record)
        if len(read_index(str(folder))) == 4:
            file.write(torn)
            raise KeyboardInterrupt

    monkeypatch.setattr(writer, "_append", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(pairs(root), folder, threads=1)
    with pytest.raises(DataError, match="6 of 10 files are not in the decoded store"):
        pairs(root, store=str(folder))
    monkeypatch.setattr(writer, "_append", append)
    decoded.clear()
    assert write(pairs(root), folder)[:2] == (6, 4)
    assert len(decoded) == 6 and len(pairs(root, store=str(folder))) == 5


def test_a_file_that_is_changed_while_it_is_decoded_is_old(root, tmp_path, monkeypatch):
    path = root / "labels" / "town" / "2.png"
    decode = loading._decode

    def changed(content, name, *args):
        if name == str(path):
            Image.fromarray(np.zeros((20, 32), np.uint8)).save(path)
        return decode(content, name, *args)

    monkeypatch.setattr(loading, "_decode", changed)
    write(pairs(root), tmp_path / "store")
    with pytest.raises(DataError, match=r"2\.png"):
        pairs(root, store=str(tmp_path / "store"))


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(root, tmp_path, decoded, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=10 * 4096 - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DataError, match=r"needs 40\.0 KiB in .*store' but there are 40\.0 KiB free; make room.*--out"):
        write(pairs(root), tmp_path / "store")
    assert not decoded and not list((tmp_path / "store").rglob("*.raw"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10 * 4096))
    assert write(pairs(root), tmp_path / "store").written == 10


def test_damaged_files_are_named_and_the_others_stored(root, tmp_path):
    broken = root / "images" / "town" / "3.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    (root / "labels" / "town" / "1.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"2 of 10 files could not be stored, the others were: .*3\.jpg.*"):
        write(pairs(root), tmp_path / "store")
    assert len(read_index(str(tmp_path / "store"))) == 8
    write_files(tmp_path / "again")
    shutil.copy(tmp_path / "again/images/town/3.jpg", broken)
    shutil.copy(tmp_path / "again/labels/town/1.png", root / "labels" / "town" / "1.png")
    assert write(pairs(root), tmp_path / "store")[:2] == (2, 8)


def test_only_8_bits_a_channel(root, tmp_path):
    cv2.imwrite(str(root / "images" / "town" / "0.jpg.png"), np.zeros((20, 30, 3), np.uint16))
    (root / "images" / "town" / "0.jpg.png").replace(root / "images" / "town" / "0.jpg")
    load = [{"type": "LoadImageFromFile", "color_type": "unchanged"}]
    with pytest.raises(DataError, match=r"0\.jpg' has uint16 pixels"):
        write(pairs(root, pipeline=load), tmp_path / "store")


def test_several_data_sets_share_a_store(root, tmp_path, decoded):
    first, second = pairs(root, indices=3), pairs(root, indices=[2, 3, 4])
    assert write([first, second], tmp_path / "store").written == 10
    assert len(decoded) == 10
    write_files(tmp_path / "other")
    with pytest.raises(ConfigError, match=r"would both be 'images/town/0\.jpg'.*one store for each data_root"):
        write([first, pairs(tmp_path / "other")], tmp_path / "store")


def test_what_cannot_be_stored(root, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="neither LoadImageFromFile nor LoadAnnotations"):
        write(pairs(root, pipeline=[]), tmp_path / "store")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/store' cannot be written \(Not a directory\)"):
        write(pairs(root), tmp_path / "file" / "store")
    remote = {"type": "LoadImageFromFile", "backend_args": {"backend": "petrel"}}
    monkeypatch.setattr("mmcv.transforms.LoadImageFromFile.__init__", _plain_init)
    with pytest.raises(ConfigError, match="not on a disk"):
        write(pairs(root, pipeline=[remote]), tmp_path / "store")


def _plain_init(self, backend_args=None):
    self.backend_args = backend_args


def test_only_one_writes(root, tmp_path):
    folder = tmp_path / "store"
    folder.mkdir()
    with (
        writer._only_one(folder),
        pytest.raises(DataError, match=r"another `gcseg store` is writing into .*store'"),
    ):
        write(pairs(root), folder)
    assert write(pairs(root), folder).written == 10


def test_sizes_in_words():
    assert [readable(n) for n in (0, 1023, 1536, 20 << 30, 3 << 40, 5 << 50)] == [
        "0 bytes",
        "1023 bytes",
        "1.5 KiB",
        "20.0 GiB",
        "3.0 TiB",
        "5120.0 TiB",
    ]
