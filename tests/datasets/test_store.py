"""A data set with a decoded store gives the same stream as without, decodes nothing, and notices an old store."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose, pseudo_collate, worker_init_fn
from PIL import Image
from torch.utils.data import DataLoader

from gcseg.datasets.converters.store import write_store
from gcseg.datasets.store import open_stored, stored_name
from gcseg.datasets.transforms import loading
from gcseg.registry import DATASETS
from gcseg.utils import ConfigError, DataError

LOAD = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}]
PACK = {"type": "PackSegInputs"}
PIPELINES = {
    "recipe": [
        *LOAD,
        {"type": "RandomResize", "scale": (72, 48), "ratio_range": (0.5, 2.0), "keep_ratio": True},
        {"type": "RandomCrop", "crop_size": (20, 28), "cat_max_ratio": 0.4},
        {"type": "RandomFlip", "prob": 0.5},
        {"type": "PhotoMetricDistortion"},
        PACK,
    ],
    "same_size": [
        *LOAD,
        {"type": "RandomResize", "scale": (36, 24), "ratio_range": (1.0, 1.0)},
        {"type": "RandomCrop", "crop_size": (20, 28)},
        {"type": "RandomCutOut", "prob": 1.0, "n_holes": 2, "cutout_shape": (4, 4)},
        PACK,
    ],
    "crop": [
        *LOAD,
        {"type": "RandomCrop", "crop_size": (9, 11), "cat_max_ratio": 0.5},
        {"type": "RandomCutOut", "prob": 1.0, "n_holes": 2, "cutout_shape": (2, 2), "seg_fill_in": 3},
        PACK,
    ],
    "nothing": [*LOAD, {"type": "RandomCutOut", "prob": 1.0, "n_holes": 2, "cutout_shape": (4, 4)}, PACK],
    "float": [{"type": "LoadImageFromFile", "to_float32": True}, LOAD[1], {"type": "RandomFlip", "prob": 0.5}, PACK],
    "test": [LOAD[0], {"type": "Resize", "scale": (60, 40), "keep_ratio": True}, LOAD[1], PACK],
}


def pairs(root, pipeline=PIPELINES["recipe"], **options):
    return DATASETS.build(
        {
            "type": "BaseSegDataset",
            "data_root": None if root is None else str(root),
            "data_prefix": {"img_path": "images", "seg_map_path": "labels"},
            "img_suffix": ".png",
            "metainfo": {"classes": ("a", "b", "c", "d", "e")},
            "pipeline": pipeline,
            **options,
        }
    )


@pytest.fixture
def store(root, tmp_path):
    """The folder of a store of ``root``."""
    folder = tmp_path / "store"
    write_store([pairs(root)], folder, say=lambda line: None)
    return folder


@pytest.fixture
def no_files(monkeypatch):
    """Reading a file is an error from now on, also in processes that are forked."""

    def read(path, *args):
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr(loading, "read_file", read)


def contents(item):
    sample = item["data_samples"]
    return item["inputs"], sample.gt_sem_seg.data, sample.metainfo


def assert_same(wanted, got):
    assert torch.equal(wanted[0], got[0]) and wanted[0].dtype == got[0].dtype
    assert torch.equal(wanted[1], got[1])
    assert wanted[2] == got[2]


def stream(dataset, workers, start="fork"):
    """Three epochs of a data loader as mmengine makes it."""
    torch.manual_seed(0)
    np.random.seed(5)
    loader = DataLoader(
        dataset,
        batch_size=2,
        shuffle=True,
        num_workers=workers,
        collate_fn=pseudo_collate,
        persistent_workers=workers > 0,
        multiprocessing_context=multiprocessing.get_context(start) if workers else None,
        worker_init_fn=partial(worker_init_fn, num_workers=workers, rank=0, seed=7) if workers else None,
    )
    found = []
    for _ in range(3):
        for batch in loader:
            for image, sample in zip(batch["inputs"], batch["data_samples"], strict=True):
                found.append((image.clone(), sample.gt_sem_seg.data.clone(), sample.metainfo))
    return found


class TestStream:
    @pytest.mark.parametrize("reduce_zero_label", [False, True])
    @pytest.mark.parametrize("pipeline", PIPELINES)
    def test_same_as_from_the_files(self, root, store, pipeline, reduce_zero_label, monkeypatch):
        options = {"pipeline": PIPELINES[pipeline], "reduce_zero_label": reduce_zero_label}
        from_files = pairs(root, **options)
        plain = Compose(from_files.pipeline.transforms)  # one transform after the other
        wanted = []
        for index in range(8):
            np.random.seed(index)
            wanted.append((contents(plain(from_files.get_data_info(index % 4))), np.random.rand()))
        monkeypatch.setattr(loading, "read_file", None)
        from_store = pairs(root, store=str(store), **options)
        for index, (item, after) in enumerate(wanted):
            np.random.seed(index)
            assert_same(item, contents(from_store[index % 4]))
            assert np.random.rand() == after

    @pytest.mark.parametrize("workers", [0, 2])
    def test_same_in_a_data_loader(self, root, store, workers, request):
        wanted = stream(pairs(root), workers)
        request.getfixturevalue("no_files")
        got = stream(pairs(root, store=str(store)), workers)
        assert len(wanted) == len(got) == 12
        for ours, theirs in zip(wanted, got, strict=True):
            assert_same(ours, theirs)

    @pytest.mark.slow
    def test_same_in_a_process_that_is_spawned(self, root, store):
        wanted = stream(pairs(root), 1)
        dataset = pairs(root, store=str(store))
        for file in (root / "images").iterdir():
            file.write_bytes(b"")  # after the store was found to be fresh: whoever reads a file now fails
        for ours, theirs in zip(wanted, stream(dataset, 1, "spawn"), strict=True):
            assert_same(ours, theirs)

    def test_only_what_the_crop_keeps_is_read(self, root, store):
        pipeline = [
            *LOAD,
            {"type": "RandomResize", "scale": (72, 48), "ratio_range": (2.0, 2.0)},
            {"type": "RandomCrop", "crop_size": (20, 28)},
            PACK,
        ]
        dataset = pairs(root, pipeline, store=str(store))
        np.random.seed(1)
        np.random.random_sample()
        bottom = np.random.randint(0, 96 - 20 + 1) + 20
        assert bottom / 4 + 4 < 20
        np.random.seed(1)
        wanted = contents(dataset[0])
        for file, row in ((store / "image" / "images" / "0.png.raw", 36 * 3), (store / "label/labels/0.png.raw", 36)):
            content = bytearray(file.read_bytes())
            content[20 * row :] = bytes([3]) * (len(content) - 20 * row)
            file.write_bytes(content)
        np.random.seed(1)
        assert_same(wanted, contents(dataset[0]))

    def test_no_pixel_is_touched_before_it_is_needed(self, store, root):
        """A stored array is a mapped file: of one that is all hole on the disk, nothing is in memory."""
        info = pairs(root, store=str(store)).get_data_info(0)
        stored = info["stored"]["img_path"]._replace(shape=(1 << 16, 1 << 12, 3))  # 805 MB
        with open(stored.file, "wb") as file:
            file.truncate(3 << 28)
        before = resident()
        array = open_stored(stored, "big.png", "color, cv2")
        assert array.shape == stored.shape and int(array[40000, 2000:2010].sum()) == 0
        assert resident() - before < 32 << 20
        assert not array.flags.writeable

    def test_class_balanced_data_set_reads_labels_from_it(self, root, store, no_files):
        dataset = pairs(root, store=str(store))
        assert [dataset.get_cat_ids(i) for i in range(4)] == [[0, 1, 2, 3, 4]] * 4


def resident() -> int:
    """Bytes of memory this process has."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class TestStale:
    def remade(self, path):
        Image.fromarray(np.zeros((24, 36), np.uint8)).save(path)

    def test_changed_file(self, root, store):
        self.remade(root / "labels" / "2.png")
        with pytest.raises(DataError, match=r"1 of 8 files .*labels/2\.png', the file had \d+ bytes.*gcseg store"):
            pairs(root, store=str(store))

    def test_file_written_again(self, root, store):
        os.utime(root / "images" / "1.png", ns=(1, 1))
        with pytest.raises(DataError, match=r"images/1\.png', the file was written again after it was stored"):
            pairs(root, store=str(store))

    def test_new_file(self, root, store):
        for kind in ("images", "labels"):
            (root / kind / "9.png").write_bytes((root / kind / "0.png").read_bytes())
        with pytest.raises(DataError, match=r"2 of 10 files are not in the decoded store .*9\.png.*adds what is miss"):
            pairs(root, store=str(store))
        write_store([pairs(root)], store, say=lambda line: None)
        assert len(pairs(root, store=str(store))) == 5

    def test_stored_file_is_gone_or_cut_off(self, root, store):
        dataset = pairs(root, store=str(store))
        file = store / "image" / "images" / "0.png.raw"
        file.write_bytes(file.read_bytes()[:-1])
        with pytest.raises(DataError, match=r"0\.png\.raw' has 2591 bytes in place of 2592"):
            pairs(root, store=str(store))
        with pytest.raises(DataError, match=r"0\.png\.raw' in the decoded store has 2591 bytes"):
            dataset[0]
        file.unlink()
        with pytest.raises(DataError, match=r"0\.png\.raw' cannot be read \(No such file"):
            pairs(root, store=str(store))
        with pytest.raises(DataError, match=r"0\.png\.raw' in the decoded store cannot be read"):
            dataset[0]

    def test_no_store(self, root, tmp_path):
        with pytest.raises(DataError, match=r"no decoded store in .*nowhere'; the nearest .*gcseg store CONFIG"):
            pairs(root, store=str(tmp_path / "nowhere"))

    def test_line_that_broke_off_does_not_count_and_a_damaged_one_is_named(self, root, store):
        index = store / "index.jsonl"
        whole = index.read_text()
        index.write_text(whole + '["image","images/0.png",1')
        assert len(pairs(root, store=str(store))) == 4
        index.write_text(whole.replace('["label"', '["label', 1))
        with pytest.raises(DataError, match=r"line \d of .*index.jsonl' is damaged: it does not fit to its checksum"):
            pairs(root, store=str(store))
        index.write_text(whole.replace('store": 2', 'store": 7', 1))
        with pytest.raises(DataError, match="another version of gcseg"):
            pairs(root, store=str(store))

    def test_decoded_in_another_way(self, root, store):
        grey = [{"type": "LoadImageFromFile", "color_type": "grayscale"}, *PIPELINES["crop"][1:]]
        with pytest.raises(ConfigError, match=r"as color, cv2 but the pipeline loads it as grayscale, cv2"):
            pairs(root, grey, store=str(store))[0]

    def test_not_on_a_disk(self, root, store):
        dataset = pairs(root, store=str(store), lazy_init=True)
        dataset.load_data_list = lambda: [{"img_path": "s3://images/0.png", "seg_map_path": "s3://labels/0.png"}]
        with pytest.raises(ConfigError, match=r"s3://images/0\.png' is not on a disk"):
            dataset.full_init()


class TestFolders:
    def test_default_folder(self, root):
        write_store([pairs(root)], root / "decoded_store", say=lambda line: None)
        dataset = pairs(root, store=True)
        assert dataset.get_data_info(0)["stored"]["img_path"].file.startswith(str(root / "decoded_store"))
        with pytest.raises(ConfigError, match=r"store=True means a folder in data_root"):
            pairs(None, store=True, data_prefix={"img_path": str(root / "images")})

    def test_a_store_moves_with_its_data(self, root, store, tmp_path):
        moved = root.rename(tmp_path / "elsewhere")
        assert len(pairs(moved, store=str(store))) == 4

    def test_names(self):
        assert stored_name("/data/a/images/0.png", "/data/a") == "images/0.png"
        assert stored_name("/data/b/0.png", "/data/a") == "root/data/b/0.png"
        assert stored_name("/data/b/0.png", None) == "root/data/b/0.png"

    def test_items_are_plain_values(self, root, store):
        dataset = pairs(root, store=str(store))
        assert pickle.loads(pickle.dumps(dataset)).get_data_info(3)["stored"] == dataset.get_data_info(3)["stored"]
        assert "stored" not in pairs(root).get_data_info(0)

    def test_labels_beyond_the_classes_are_found_without_reading_them(self, root, store):
        dataset = pairs(root, store=str(store), metainfo={"classes": ("a", "b", "c", "d")})
        with pytest.raises(DataError, match=r"labels/0\.png' holds 4 on \d+ pixels, but there are 4 classes"):
            dataset[0]
