"""What the fuzzers have found, each with the smallest input that shows it."""

import io
import json
import math
import pickle
import pickletools
import struct
import sys
import warnings
import zipfile
import zlib
from functools import partial

import numpy as np
import pytest
import torch
from fuzz_trees import _PIPELINE
from PIL import Image
from torch import nn

from gcseg.apis.stored_config import parse_config_text
from gcseg.cli import parse_cfg_options
from gcseg.config import load_config
from gcseg.datasets.converters._mat import read_field
from gcseg.datasets.converters.cityscapes import polygons_to_train_ids
from gcseg.datasets.converters.voc_aug import read_sbd
from gcseg.datasets.transforms import LoadImageFromFile
from gcseg.engine.checkpoint import load_checkpoint_file
from gcseg.engine.state_dict import load_into_model
from gcseg.registry import DATASETS
from gcseg.utils.errors import CheckpointError, ConfigError, DataError, WeightsNotFoundError


class TestImages:
    def test_jpeg_whose_end_was_never_written(self, tmp_path):
        buffer, file = io.BytesIO(), tmp_path / "a.jpg"
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(buffer, "JPEG")
        whole = buffer.getvalue()
        file.write_bytes(whole[: len(whole) * 3 // 4] + bytes(len(whole) // 4))
        with pytest.raises(DataError, match=r"a\.jpg' .* it ends in zeros and was not written to its end"):
            LoadImageFromFile().transform({"img_path": str(file)})
        file.write_bytes(whole + bytes(512))  # some cameras fill up their files behind the end
        assert LoadImageFromFile().transform({"img_path": str(file)})["img"].shape == (64, 64, 3)


def folder(root, names=("a", "b"), classes="road\nsky\n"):
    for kind in ("images", "labels"):
        (root / kind / "train").mkdir(parents=True)
        for number, name in enumerate(names):
            Image.fromarray(np.full((4, 6), number, np.uint8)).save(root / kind / "train" / f"{name}.png")
    (root / "classes.txt").write_text(classes)
    return root


def folder_dataset(root):
    return DATASETS.build(dict(type="FolderDataset", data_root=str(root), pipeline=_PIPELINE, _scope_="gcseg"))


class TestFolders:
    def test_two_labels_of_one_name(self, tmp_path):
        root = folder(tmp_path)
        Image.fromarray(np.ones((4, 6), np.uint8)).save(root / "labels" / "train" / "a.bmp")
        with pytest.raises(DataError, match=r"'a\.bmp' and 'a\.png' in .*labels/train' have one name"):
            folder_dataset(root)

    @pytest.mark.parametrize("kind", ["images", "labels"])
    def test_links_that_lead_back(self, tmp_path, kind):
        root = folder(tmp_path)
        (root / kind / "train" / "loop").symlink_to(".")
        with pytest.raises(DataError, match=rf"{kind}/train' holds a symbolic link that leads back to .*loop/loop"):
            folder_dataset(root)

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"road\nroad\n", r"classes\.txt' has the class name 'road', which is there twice"),
            (b"road\nsk\0y\n", r"classes\.txt' has the class name 'sk\\x00y', which .* is no text"),
            (b"\xff\xfer\0o\0", r"classes\.txt' is no UTF-8 text"),
        ],
    )
    def test_damaged_classes(self, tmp_path, content, said):
        root = folder(tmp_path)
        (root / "classes.txt").write_bytes(content)
        with pytest.raises(ConfigError, match=said):
            folder_dataset(root)

    def test_classes_with_a_byte_order_mark(self, tmp_path):
        dataset = folder_dataset(folder(tmp_path, classes="\ufeff# names\nroad\nsky\n"))
        assert list(dataset.metainfo["classes"]) == ["road", "sky"]


class TestLists:
    def of(self, root, lines):
        (root / "list.txt").write_text(lines)
        prefix = dict(img_path="images/train", seg_map_path="labels/train")
        of = dict(type="PascalVOCDataset", data_root=str(root), data_prefix=prefix, ann_file="list.txt")
        return DATASETS.build({**of, "img_suffix": ".png", "_scope_": "gcseg"})

    def test_image_that_is_listed_twice(self, tmp_path):
        root = folder(tmp_path)
        with pytest.warns(UserWarning, match=r"list\.txt' names 'a' more than once"):
            assert len(self.of(root, "a\nb\na\n")) == 3
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert len(self.of(root, "a\nb\n")) == 2

    def test_line_that_leads_elsewhere(self, tmp_path):
        with pytest.raises(DataError, match=r"the first is '/nowhere/a\.png'; .* or mend the list '.*/list\.txt'"):
            self.of(folder(tmp_path), "a\n/nowhere/a\n")

    def test_line_of_any_length(self, tmp_path):
        with pytest.raises(DataError, match=r"1 of 2 image files do not exist, the first is .*/xxxx") as caught:
            self.of(folder(tmp_path), f"a\n{'x' * 5000}\n")
        assert len(str(caught.value)) < 1500


class TestStore:
    def written(self, tmp_path):
        from gcseg.datasets.converters.store import write_store

        of = dict(type="FolderDataset", data_root=str(folder(tmp_path)), pipeline=_PIPELINE, _scope_="gcseg")
        write_store([DATASETS.build(dict(of))], tmp_path / "decoded_store", threads=1, say=lambda line: None)
        return {**of, "store": True}, tmp_path / "decoded_store"

    @pytest.mark.parametrize("old", ["[0]", "[4,6]", "index map"])
    def test_byte_of_the_index(self, tmp_path, old):
        """Without a checksum a label's values, a size or a name would be believed."""
        of, store = self.written(tmp_path)
        index = store / "index.jsonl"
        text = index.read_text()
        assert old in text
        index.write_text(text.replace(old, old.replace("0", "1").replace("4,6", "6,4").replace("x m", "xxm"), 1))
        with pytest.raises(DataError, match=r"line \d of .*index\.jsonl' is damaged"):
            DATASETS.build(of)

    def test_index_that_is_no_text(self, tmp_path):
        of, store = self.written(tmp_path)
        (store / "index.jsonl").write_bytes(b"\xd3" + (store / "index.jsonl").read_bytes())
        with pytest.raises(DataError, match=r"index\.jsonl' begins with .* another version"):
            DATASETS.build(of)

    def test_label_that_is_no_class(self, tmp_path):
        of, store = self.written(tmp_path)
        dataset, raw = DATASETS.build(of), store / "label" / "labels" / "train" / "b.png.raw"
        raw.write_bytes(bytes([1, 77]) + raw.read_bytes()[2:])
        dataset[0]
        with pytest.raises(DataError, match=r"b\.png\.raw' in the decoded store holds 77, which is no class"):
            dataset[1]


def mat(content, packed=True):
    from scipy.io import savemat

    buffer = io.BytesIO()
    savemat(buffer, content, do_compression=packed)
    return buffer.getvalue()


class TestAnnotations:
    @pytest.mark.parametrize("packed", [True, False])
    @pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64, np.int64])
    def test_own_reader_reads_what_scipy_writes(self, packed, dtype):
        values = np.random.default_rng(0).integers(0, 21, (5, 7)).astype(dtype)
        cells = np.array([[values, 3], ["x", [1, 2]]], dtype=object)
        content = mat({"other": 1.0, "GTcls": {"Boundaries": cells, "Segmentation": values, "Last": "text"}}, packed)
        read = read_field(content, "GTcls", "Segmentation")
        assert read.dtype == dtype and np.array_equal(read, values)

    def test_file_that_brings_scipy_down(self, tmp_path):
        """scipy 1.18 ends the process: after the packed data are unpacked, they hold zeros from a name on."""
        whole = mat({"GTcls": {"Segmentation": np.ones((3, 4), np.uint8)}})
        raw = zlib.decompress(whole[136:])
        for at in range(8, len(raw), 4):
            body = zlib.compress(raw[:at] + bytes(len(raw) - at))
            (tmp_path / "a.mat").write_bytes(whole[:132] + len(body).to_bytes(4, "little") + body)
            try:
                assert read_sbd(tmp_path / "a.mat").max() <= 1
            except DataError as error:
                assert "a.mat' is no SBD annotation or is damaged" in str(error)

    @pytest.mark.parametrize(
        ("values", "said"),
        [
            (np.full((2, 3), 21, np.uint8), r"uint8 of shape \(2, 3\), 21 to 21, no map of classes 0 to 20"),
            (np.zeros((0, 0), np.uint8), r"uint8 of shape \(0, 0\), no map"),
        ],
    )
    def test_values_that_are_no_classes(self, tmp_path, values, said):
        (tmp_path / "a.mat").write_bytes(mat({"GTcls": {"Segmentation": values}}))
        with pytest.raises(DataError, match=rf"a\.mat': GTcls\.Segmentation is {said}"):
            read_sbd(tmp_path / "a.mat")

    def test_names_without_an_end(self):
        content = bytearray(mat({"GTclz": {"Segmentation": np.ones((3, 4), np.uint8)}}, packed=False))
        content[128 + 8 + 16 + 16 + 2] = 0  # the name is no longer a small element, and reaches as far as its bytes say
        with pytest.raises(ValueError) as caught:
            read_field(bytes(content), "GTcls", "Segmentation")
        assert len(str(caught.value)) < 500

    def test_packed_data_that_promise_too_much(self, monkeypatch):
        monkeypatch.setattr("gcseg.datasets.converters._mat._LARGEST", 1 << 16)
        body = zlib.compress(bytes(1 << 20))
        header = b"MATLAB".ljust(124) + b"\x00\x01IM"
        with pytest.raises(ValueError, match="packed data break off"):
            read_field(header + struct.pack("<II", 15, len(body)) + body, "GTcls", "Segmentation")

    @pytest.mark.parametrize(
        "text", ['{"imgHeight": 1' + "0" * 30 + ', "imgWidth": 3}', '{"imgHeight": 0.5, "imgWidth": 3}', "[" * 100000]
    )
    def test_polygons(self, tmp_path, text):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(DataError, match=r"a\.json' is no Cityscapes annotation or is damaged"):
            polygons_to_train_ids(tmp_path / "a.json")


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.decode_head = nn.ModuleDict({"conv_seg": nn.Conv2d(2, 3, 1)})


def weights():
    return {"decode_head.conv_seg.weight": torch.ones(3, 2, 1, 1), "decode_head.conv_seg.bias": torch.ones(3)}


def load(tmp_path, content, file="iter_1.pth"):
    torch.save(content, tmp_path / file)
    checkpoint = load_checkpoint_file(tmp_path / file)
    load_into_model(Model(), checkpoint, strict=True, name=str(tmp_path / file))
    return checkpoint


class TestCheckpoints:
    @pytest.mark.parametrize(
        ("odd", "said"),
        [
            (torch.tensor([1.0, math.nan, 1.0]), "1 of its tensors hold nan or infinity, such as .*bias: .* diverged"),
            (torch.tensor([1.0, -math.inf, math.inf]), "hold nan or infinity"),
            (torch.ones(3).to_sparse(), "bias is a sparse tensor"),
            (torch.ones(3, dtype=torch.complex64), "bias is a complex tensor"),
            (torch.zeros(3, device="meta"), "bias is a meta tensor"),
            (torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), "bias is a quantized tensor"),
            (torch.zeros(()), r"bias is \(\) there and \(3,\) here"),
        ],
        ids=["nan", "infinite", "sparse", "complex", "meta", "quantized", "scalar"],
    )
    def test_tensors(self, tmp_path, odd, said):
        with pytest.raises(CheckpointError, match=rf"iter_1\.pth: .*{said}"):
            load(tmp_path, weights() | {"decode_head.conv_seg.bias": odd})

    def test_large_finite_numbers_are_finite(self, tmp_path):
        load(tmp_path, weights() | {"decode_head.conv_seg.bias": torch.full((3,), 3e38)})

    @pytest.mark.parametrize(
        ("more", "said"),
        [
            ({3: torch.ones(1)}, "a tensor is called 3; the names of weights are strings"),
            ({"module.decode_head.conv_seg.bias": torch.zeros(3)}, "two of its tensors would be called decode_head"),
            ({"decode_head.\x1b[31m": torch.ones(1)}, r"such as 'decode_head\.\\x1b\[31m'"),
            ({"decode_head." + "k" * 9999: torch.ones(1)}, r"such as 'decode_head\.k+ \.\.\."),
        ],
        ids=["number", "twice", "control", "long"],
    )
    def test_names(self, tmp_path, more, said):
        with pytest.raises(CheckpointError, match=rf"iter_1\.pth: .*{said}") as caught:
            load(tmp_path, {"state_dict": weights() | more})
        assert len(str(caught.value)) < 1000

    @pytest.mark.parametrize(
        ("meta", "said"),
        [
            ("0", "its `meta` is '0' where a dictionary is expected"),
            ({"dataset_meta": [1, 2]}, r"its meta\['dataset_meta'\] is \[1, 2\] where"),
            ({"dataset_meta": {"classes": 255}}, "its classes are 255 where a list of names"),
            ({"CLASSES": "road"}, "its classes are 'road' where"),
            ({"dataset_meta": {"palette": [[1, 2], [3, 4]]}}, r"its palette is \[\[1, 2\], \[3, 4\]\] where"),
            ({"PALETTE": [None]}, r"its palette is \[None\] where"),
            ({"seed": "abc"}, r"its meta\['seed'\] is 'abc'"),
        ],
        ids=str,
    )
    def test_meta(self, tmp_path, meta, said):
        with pytest.raises(CheckpointError, match=rf"iter_1\.pth: {said}"):
            load(tmp_path, {"state_dict": weights(), "meta": meta})

    @pytest.mark.parametrize("palette", [None, "random", np.ones((3, 3), np.uint8), [(1, 2, 3)] * 3, torch.ones(3, 3)])
    def test_palettes_that_are_written(self, tmp_path, palette):
        meta = {"CLASSES": ("a", "b", "c"), "PALETTE": palette}
        assert load(tmp_path, {"state_dict": weights(), "meta": meta})["meta"]["dataset_meta"]["classes"] == (*"abc",)

    def graph(self, tmp_path, opcodes):
        """A checkpoint whose ``meta`` is made by these opcodes."""
        torch.save({"meta": "HERE", "state_dict": weights()}, tmp_path / "plain.pth")
        word = b"X" + struct.pack("<I", 4) + b"HERE"
        with zipfile.ZipFile(tmp_path / "plain.pth") as old, zipfile.ZipFile(tmp_path / "iter_1.pth", "w") as new:
            for name in old.namelist():
                body = old.read(name)
                if name.endswith("data.pkl"):
                    start = body.index(word)
                    end = start + len(word) + 2 * (body[start + len(word)] == ord("q"))
                    body = body[:start] + opcodes + body[end:]
                new.writestr(name, body)
        return load_checkpoint_file(tmp_path / "iter_1.pth")

    @staticmethod
    def memo(opcode, number):
        return opcode + struct.pack("<I", 100000 + number)

    def test_list_that_holds_itself(self, tmp_path):
        opcodes = b"}X\x01\0\0\0a]" + self.memo(b"r", 0) + self.memo(b"j", 0) + b"as"
        inner = self.graph(tmp_path, opcodes)["meta"]["a"]
        assert inner[0] is inner

    def test_pairs_that_double_sixty_times(self, tmp_path):
        opcodes = b"}X\x01\0\0\0a]" + self.memo(b"r", 0)
        for number in range(1, 60):
            opcodes += self.memo(b"j", number - 1) + b"\x86" + self.memo(b"r", number)
        node, depth = self.graph(tmp_path, opcodes + b"s")["meta"]["a"], 0
        while node:
            assert node[0] is node[1]
            node, depth = node[0], depth + 1
        assert depth == 59

    def test_nested_too_deeply(self, tmp_path):
        with pytest.raises(CheckpointError, match=r"iter_1\.pth: not a readable checkpoint \(RecursionError"):
            self.graph(tmp_path, b"}X\x01\0\0\0a" + b"]" * 5000 + b"a" * 4999 + b"s")

    def test_legacy_file_without_one_of_its_storages(self, tmp_path):
        file = tmp_path / "old.pth"
        torch.save(weights(), file, _use_new_zipfile_serialization=False)
        content = file.read_bytes()
        key = next(k for k in _strings(content) if k.isdigit())
        at = content.rindex(key.encode())
        file.write_bytes(content[:at] + b"7" * len(key) + content[at + len(key) :])
        with pytest.raises(CheckpointError, match=r"old\.pth: not a readable checkpoint"):
            load_checkpoint_file(file)

    def test_safetensors_with_nested_metadata(self, tmp_path):
        from safetensors.torch import save_file

        deep = "[" * 100000 + "]" * 100000
        save_file(weights(), tmp_path / "a.safetensors", metadata={"notes": deep})
        assert load_checkpoint_file(tmp_path / "a.safetensors")["meta"]["notes"] == deep
        save_file(weights(), tmp_path / "a.safetensors", metadata={"dataset_meta": json.dumps([1])})
        with pytest.raises(CheckpointError, match=r"a\.safetensors: its meta\['dataset_meta'\] is \[1\]"):
            load_checkpoint_file(tmp_path / "a.safetensors")


def _strings(content):
    """The texts in the pickles of a legacy checkpoint."""
    stream = io.BytesIO(content)
    for _ in range(4):
        for opcode, value, _ in pickletools.genops(stream):
            if isinstance(value, str):
                yield value
            if opcode.name == "STOP":
                break


class TestMessages:
    def test_no_control_characters(self):
        error = DataError("file 'a\x1b[31m\u202e\0é\udcff'\nis bad")
        assert str(error) == r"file 'a\x1b[31m\u202e\x00é\udcff'" + "\nis bad"
        assert str(WeightsNotFoundError("a\0")) == r"a\x00" and isinstance(pickle.loads(pickle.dumps(error)), DataError)


class TestConfigs:
    @pytest.mark.parametrize("value", ["[1,2", "(1),(2)", "[" * 1100 + "]" * 1100])
    def test_brackets(self, value, request):
        request.addfinalizer(partial(sys.setrecursionlimit, sys.getrecursionlimit()))
        sys.setrecursionlimit(1000)  # Python's own; torch's compiler raises it for the whole process
        with pytest.raises(ConfigError, match=r"--cfg-options 'a\.b=.* its brackets cannot be read"):
            parse_cfg_options(["c=1", f"a.b={value}"])

    def test_key_that_looks_like_an_option(self):
        assert parse_cfg_options(["-1.model=3"]) == {"-1.model": 3}

    @pytest.mark.parametrize("value", [["{'type':'BN'", "x"], ["a"], [[]], [None]])
    def test_evaluator_that_is_no_metric(self, value):
        with pytest.raises(ConfigError, match="val_evaluator: received .*, expected a metric such as dict"):
            load_config("gcnet_r18-d8_1xb8-1k_camvid-240x320", {"val_evaluator": value})

    def test_type_of_any_length(self):
        with pytest.raises(ConfigError, match=r"unknown type in models 'xxx") as caught:
            load_config("gcnet_r18-d8_1xb8-1k_camvid-240x320", {"model.type": "x" * 9999})
        assert len(str(caught.value)) < 2500

    def test_key_below_a_number(self):
        recipe = "gcnet_r18-d8_1xb8-1k_camvid-240x320"
        with pytest.raises(ConfigError, match=r"--cfg-options img_ratios\.1\.0=1: cannot be merged"):
            load_config(recipe, {"img_ratios.1.0": 1})

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("_base_ = 'a.txt'", "OSError: Only py/yml/yaml/json"),
            ("_base_ = 'a.yaml'", "ParserError"),
            ("import nowhere\nx = nowhere.a", "No module named 'nowhere'"),
            ("x = 1 / 0", "ZeroDivisionError"),
            ("raise SystemExit(3)", "SystemExit: 3"),
            ("assert False, 'x'", "AssertionError: x"),
        ],
    )
    def test_files(self, tmp_path, text, said):
        (tmp_path / "a.txt").write_text("x")
        (tmp_path / "a.yaml").write_text("a: [b")
        (tmp_path / "config.py").write_text(text + "\n")
        with pytest.raises(ConfigError, match=rf"config\.py: cannot be read as a config: .*{said}"):
            load_config(tmp_path / "config.py")

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("a = 1\n\nb = undefined", r"NameError: name 'undefined' is not defined \(line 3 of .*one\.py\)$"),
            ("def f():\n    return 1 / 0\n\n\na = f()", r"division by zero \(line 2 of .*one\.py\)$"),
            ("a = 1\nb = open('gone.txt')", r"FileNotFoundError: .*'gone\.txt' \(line 2 of .*one\.py\)$"),
            ("a = 1\nb = 2 +", r"SyntaxError: invalid syntax \(line 2 of .*one\.py\)$"),
            ("a = 1\n\x00", "cannot contain null bytes"),
        ],
    )
    def test_place_in_the_code(self, tmp_path, text, said):
        (tmp_path / "one.py").write_text(text + "\n")
        (tmp_path / "builds_on_it.py").write_text("_base_ = './one.py'\n")
        (tmp_path / "imports_it.py").write_text(
            "from mmengine.config import read_base\n\nwith read_base():\n    from .one import *\n"
        )
        for file in sorted(tmp_path.glob("*.py")):
            with pytest.raises(ConfigError, match=rf"{file.name}: cannot be read as a config: .*{said}"):
                load_config(file)

    def test_file_that_builds_on_itself(self, tmp_path):
        (tmp_path / "config.py").write_text("_base_ = './config.py'\n")
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(400)  # a level opens ten files
        try:
            with pytest.raises(ConfigError, match=r"config\.py: cannot be read as a config: it builds on itself"):
                load_config(tmp_path / "config.py")
        finally:
            sys.setrecursionlimit(limit)

    @pytest.mark.parametrize("text", ["x = {[]: 1}", "text = 3", "x = " + "-" * 3000 + "1"])
    def test_stored(self, text):
        with pytest.raises(ConfigError, match="of_a_run"):
            parse_config_text(text, "of_a_run")
