"""The list of items, the meta information, and what is said when the files are not there."""

from __future__ import annotations

import pickle
import re
import shutil

import numpy as np
import pytest
from mmengine.dataset import BaseDataset

from gcseg.datasets import BaseSegDataset
from gcseg.registry import DATASETS
from gcseg.utils import ConfigError, DataError

PREFIX = {"img_path": "images", "seg_map_path": "labels"}
CLASSES = ("a", "b", "c", "d", "e")


class Letters(BaseSegDataset):
    """Five classes, a to e; e is red."""

    METAINFO = {"classes": CLASSES, "palette": [[i, i, i] for i in range(4)] + [[255, 0, 0]]}


def letters(root, **options):
    return Letters(**{"img_suffix": ".png", "data_root": str(root), "data_prefix": PREFIX, **options})


def names(dataset):
    return [dataset.get_data_info(i)["img_path"].rsplit("/", 1)[1] for i in range(len(dataset))]


def one_paragraph(error) -> str:
    text = str(error.value)
    assert "\n" not in text and len(text) < 1000
    return text


class TestList:
    def test_pairs_in_order_with_all_keys(self, root):
        dataset = letters(root, ignore_index=200, void_labels=[7])
        assert names(dataset) == ["0.png", "1.png", "2.png", "3.png"]
        assert dataset.get_data_info(2) == {
            "img_path": f"{root}/images/2.png",
            "seg_map_path": f"{root}/labels/2.png",
            "sample_idx": 2,
            "label_map": None,
            "reduce_zero_label": False,
            "void_labels": (7,),
            "ignore_index": 200,
            "num_classes": 5,
            "seg_fields": [],
        }

    def test_folders_below_and_several_suffixes(self, root):
        (root / "images/sub").mkdir()
        (root / "labels/sub").mkdir()
        shutil.move(root / "images/1.png", root / "images/sub/1_photo.PNG")
        shutil.move(root / "labels/1.png", root / "labels/sub/1_map.png")
        for i in (0, 2, 3):
            (root / f"labels/{i}.png").rename(root / f"labels/{i}_map.png")
        dataset = letters(root, img_suffix=(".png", "_photo.PNG"), seg_map_suffix="_map.png")
        assert [dataset.get_data_info(i)["seg_map_path"] for i in range(4)] == [
            f"{root}/labels/{name}_map.png" for name in ("0", "2", "3", "sub/1")
        ]

    def test_ann_file_gives_choice_and_order(self, root):
        for text in (b"3\n1\n\n", b"\xef\xbb\xbf3\r\n1 \r\n\r\n"):  # the second as editors of Windows write it
            (root / "list.txt").write_bytes(text)
            assert names(letters(root, ann_file="list.txt")) == ["3.png", "1.png"]

    @pytest.mark.parametrize(
        ("indices", "left"), [(2, ["0.png", "1.png"]), (-1, ["3.png"]), ([3, 0], ["3.png", "0.png"])]
    )
    def test_indices(self, root, indices, left):
        assert names(letters(root, indices=indices)) == left

    def test_serialised_and_plain_lists_agree(self, root):
        a, b = letters(root), letters(root, serialize_data=False)
        assert [a.get_data_info(i) for i in range(4)] == [b.get_data_info(i) for i in range(4)]
        assert a.data_list == [] and a.data_bytes.dtype == np.uint8

    def test_seg_fields_are_not_shared_between_reads(self, root):
        dataset = letters(root, serialize_data=False)
        dataset.get_data_info(0)["seg_fields"].append("gt_seg_map")
        assert dataset.get_data_info(0)["seg_fields"] == []

    def test_without_labels(self, root):
        dataset = letters(root, data_prefix={"img_path": "images"}, test_mode=True)
        assert "seg_map_path" not in dataset.get_data_info(0)

    def test_lazy_init_reads_on_first_use(self, tmp_path):
        dataset = letters(tmp_path / "nowhere", lazy_init=True)
        assert dataset.metainfo["classes"] == CLASSES
        with pytest.raises(DataError, match="does not exist"):
            len(dataset)

    def test_subclass_in_mmsegmentations_manner_keeps_its_own_values(self, root):
        class Own(Letters):
            def load_data_list(self):
                return [{"img_path": "x", "label_map": {0: 1}, "reduce_zero_label": True, "seg_fields": []}]

        info = Own(data_root=str(root)).get_data_info(0)
        assert info["label_map"] == {0: 1} and info["reduce_zero_label"] is True

    def test_survives_pickling_to_a_worker(self, root):
        assert names(pickle.loads(pickle.dumps(letters(root)))) == ["0.png", "1.png", "2.png", "3.png"]

    def test_filter_cfg_without_filter_warns(self, root):
        with pytest.warns(UserWarning, match="does nothing"):
            letters(root, filter_cfg={"min_size": 3})

    def test_filter_data_of_a_subclass(self, root):
        class Some(Letters):
            def filter_data(self):
                return [info for info in self.data_list if info["img_path"].endswith(self.filter_cfg["end"])]

        some = Some(img_suffix=".png", data_root=str(root), data_prefix=PREFIX, filter_cfg={"end": "2.png"})
        assert names(some) == ["2.png"]


class TestMetainfo:
    def test_fewer_classes_in_another_order(self, root):
        dataset = letters(root, metainfo={"classes": ["e", "b"]})
        assert dataset.label_map == {0: 255, 1: 1, 2: 255, 3: 255, 4: 0}
        assert dataset.metainfo["palette"] == [[255, 0, 0], [1, 1, 1]]
        assert dataset.get_data_info(0)["num_classes"] == 2
        assert dataset.metainfo["label_map"] == dataset.label_map

    def test_permuted_classes_take_their_colours_along(self, root):
        dataset = letters(root, metainfo={"classes": CLASSES[::-1]})
        assert dataset.metainfo["palette"][0] == [255, 0, 0]

    def test_left_out_classes_become_ignore_index(self, root):
        assert letters(root, metainfo={"classes": ["b"]}, ignore_index=9).label_map == {0: 9, 1: 0, 2: 9, 3: 9, 4: 9}

    def test_given_palette_is_kept(self, root):
        given = letters(root, metainfo={"classes": ["e", "b"], "palette": [[1, 2, 3], [4, 5, 6]]})
        assert given.metainfo["palette"] == [[1, 2, 3], [4, 5, 6]]

    def test_missing_palette_is_the_same_every_time_and_leaves_the_global_stream_alone(self, root):
        np.random.seed(3)
        first = np.random.rand()
        np.random.seed(3)
        options = {
            "metainfo": {"classes": ["x", "y"]},
            "img_suffix": ".png",
            "data_root": str(root),
            "data_prefix": PREFIX,
        }
        palettes = [BaseSegDataset(**options).metainfo["palette"] for _ in range(2)]
        assert np.random.rand() == first
        assert palettes[0] == palettes[1] == [[102, 179, 92], [14, 106, 71]]  # as mmsegmentation draws them

    def test_classes_from_a_file(self, root):
        (root / "classes.txt").write_text("c\na\n")
        assert letters(root, metainfo={"classes": str(root / "classes.txt")}).label_map[2] == 0

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"metainfo": {"classes": ["a", "bb"]}}, "unknown class of Letters in metainfo 'bb'"),
            ({"metainfo": {"classes": ["a", "a"]}}, "'a' twice"),
            ({"metainfo": {"classes": "nofile.txt"}}, "nofile.txt.*one name a line"),
            ({"metainfo": {"classes": ["a", "b"], "palette": [[1, 2, 3]]}}, "2 classes but 1 colours"),
            ({"ignore_index": -100}, "ignore_index=-100.*0 to 255"),
            ({"void_labels": 11}, r"void_labels=11.*\[11\]"),
            ({"void_labels": [300]}, "void_labels"),
        ],
    )
    def test_errors(self, root, options, words):
        with pytest.raises(ConfigError) as error:
            letters(root, **options)
        assert re.search(words, one_paragraph(error))

    def test_evaluation_needs_classes(self, root):
        with pytest.raises(ConfigError, match="needs class names"):
            BaseSegDataset(img_suffix=".png", data_root=str(root), data_prefix=PREFIX, test_mode=True)


class TestFaults:
    def test_wrong_data_root_names_the_nearest_parent_and_its_contents(self, root):
        wrong = root.parent / "dta" / "deeper"
        with pytest.raises(DataError) as error:
            letters(wrong)
        text = one_paragraph(error)
        assert f"'{wrong}/images' does not exist" in text
        assert f"nearest existing parent, '{root.parent}', holds 'data/'" in text
        assert "Set data_root" in text and str(wrong) in text

    def test_empty_folder(self, root):
        (root / "empty").mkdir()
        with pytest.raises(DataError) as error:
            letters(root, data_prefix={"img_path": "empty"})
        assert "it is empty" in one_paragraph(error)

    def test_wrong_suffix_says_what_is_there(self, root):
        with pytest.raises(DataError) as error:
            letters(root, img_suffix=".jpg")
        text = one_paragraph(error)
        assert "ends in '.jpg'" in text and "4 files (4 .png; first '0.png')" in text and "img_suffix" in text

    def test_missing_and_empty_ann_file(self, root):
        with pytest.raises(DataError, match=r"list of images \(ann_file\) '.*train.txt' does not exist; the nearest"):
            letters(root, ann_file="train.txt")
        (root / "none.txt").write_text("\n")
        with pytest.raises(DataError, match="none.txt' is empty"):
            letters(root, ann_file="none.txt")

    def test_ann_file_that_is_no_text(self, root):
        (root / "list.txt").write_bytes(bytes(range(128, 256)))
        with pytest.raises(DataError, match=r"list of images \(ann_file\) .*list\.txt' is no UTF-8 text"):
            letters(root, ann_file="list.txt")

    def test_listed_image_that_does_not_exist(self, root):
        (root / "list.txt").write_text("0\n17\n")
        with pytest.raises(DataError) as error:
            letters(root, ann_file="list.txt")
        assert "1 of 2 image files do not exist, the first is" in one_paragraph(error) and "17.png" in str(error.value)

    def test_missing_label_is_found_before_anything_is_read(self, root):
        (root / "labels/2.png").unlink()
        (root / "images/0.png").write_bytes(b"")
        with pytest.raises(DataError) as error:
            letters(root, pipeline=[{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}])
        text = one_paragraph(error)
        assert "1 of 4 label files do not exist" in text and f"{root}/labels/2.png" in text and "seg_map_suffix" in text

    def test_missing_labels_do_not_matter_when_none_are_loaded(self, root):
        shutil.rmtree(root / "labels")
        assert letters(root, pipeline=[{"type": "LoadImageFromFile"}])[0]["img"].shape == (24, 36, 3)
        with pytest.raises(DataError, match="4 of 4 label files.*nearest existing parent"):
            letters(root, pipeline=[{"type": "LoadAnnotations"}])

    def test_nothing_left(self, root):
        with pytest.raises(DataError, match="no item is left.*indices=0"):
            letters(root, indices=0)

    def test_broken_file_surfaces_at_once_and_is_not_drawn_again(self, root):
        dataset = letters(root, pipeline=[{"type": "LoadImageFromFile"}])
        (root / "images/1.png").write_bytes(b"no picture")
        with pytest.raises(DataError, match=r"images/1\.png"):
            dataset[1]

    def test_broken_file_is_replaced_when_the_config_says_so(self, root):
        np.random.seed(0)
        dataset = letters(root, pipeline=[{"type": "LoadImageFromFile", "ignore_empty": True}])
        (root / "images/1.png").write_bytes(b"no picture")
        assert dataset[1]["sample_idx"] != 1

    def test_error_of_a_worker_process_names_the_file(self, root):
        from torch.utils.data import DataLoader

        dataset = letters(root, pipeline=[{"type": "LoadImageFromFile"}])
        (root / "images/1.png").write_bytes(b"no picture")
        with pytest.raises(DataError, match=r"images/1\.png"):
            list(DataLoader(dataset, num_workers=1, batch_size=None))


def test_present_classes(root):
    dataset = letters(root, metainfo={"classes": ["e", "b"]})
    from PIL import Image

    label = np.asarray(Image.open(root / "labels/0.png"))
    wanted = sorted({4: 0, 1: 1}[v] for v in np.unique(label) if v in (1, 4))
    assert dataset.get_cat_ids(0) == wanted


def test_built_by_name_with_mmengines_parts():
    assert DATASETS.get("BaseSegDataset") is BaseSegDataset
    assert issubclass(BaseSegDataset, BaseDataset)
    for name in ("CityscapesDataset", "ADE20KDataset", "PascalVOCDataset", "CamVidDataset", "ConcatDataset"):
        assert DATASETS.get(name).__module__.startswith("gcseg.datasets."), name
