"""The check of a data set. Every fault is a real one, in a file on the disk."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from gcseg.analysis import check_data
from gcseg.analysis.data_check import facts as facts_module
from gcseg.analysis.data_check.kinds import FAULT, KINDS, NOTE
from gcseg.cli import main
from gcseg.utils import ConfigError


def found(report, kind):
    """File names of the findings of a kind, below the folder of the split."""
    return sorted(Path(f.file).name for f in report.findings if f.kind == kind)


def check(folder, **options):
    return check_data(folder.config, **{"workers": 0, **options})


def only(report, kind, number=1):
    """The findings of the one kind that there is."""
    assert {f.kind for f in report.findings} == {kind}, [f.message for f in report.findings]
    assert len(report.findings) == number
    assert report.exit_code == (KINDS[kind].severity == FAULT)
    return report.findings


class TestClean:
    def test_nothing_is_found_and_every_pixel_is_counted(self, folder):
        report = check(folder)
        assert report.findings == [] and report.exit_code == 0 and report.files == 18
        counted = {split: np.zeros(256, int) for split in ("train", "val")}
        for split, number in (("train", 6), ("val", 3)):
            for i in range(number):
                counted[split] += np.bincount(folder.read_label(split, i).ravel(), minlength=256)
        for split, pixels in counted.items():
            tally = report.tallies[split]
            assert [tally.pixels[c] for c in range(3)] == pixels[:3].tolist()
            assert tally.ignored == pixels[255] and tally.total == pixels.sum()
            assert tally.images[2] == (6 if split == "train" else 3)
        assert "No faults, 0 notes." in str(report) and "left" in str(report)

    @pytest.mark.parametrize("workers", [1, 2])
    def test_any_number_of_processes_finds_the_same(self, folder, workers):
        folder.image_path("train", 2).write_bytes(b"no image")
        folder.label_path("val", 1).unlink()
        here, there = check(folder).as_dict(), check(folder, workers=workers).as_dict()
        for report in (here, there):
            del report["seconds"], report["workers"]
        assert here == there and here["faults"] == 2

    def test_a_split_alone(self, folder):
        folder.image_path("train", 2).write_bytes(b"no image")
        assert check(folder, splits=["val"]).exit_code == 0
        assert check(folder, splits=["train"]).exit_code == 1
        with pytest.raises(ConfigError, match="test_dataloader"):
            check(folder, splits=["test"])


class TestFiles:
    def test_all_faults_at_once_each_by_name(self, folder):
        """Nothing ends the check: eight broken files give eight findings."""
        jpeg = folder.image_path("train", 0).read_bytes()
        folder.image_path("train", 0).write_bytes(jpeg[: len(jpeg) // 2])
        folder.image_path("train", 1).write_bytes(b"")
        folder.image_path("train", 2).write_text("<html>404</html>")
        folder.label_path("train", 3).unlink()
        png = folder.label_path("train", 4).read_bytes()
        folder.label_path("train", 4).write_bytes(png[: len(png) // 2])
        folder.label("train", 5, folder.read_label("train", 5)[:-1])
        label = folder.read_label("val", 0)
        label[5, 5:9] = 7
        folder.label("val", 0, label)
        folder.label("val", 1, np.zeros((40, 48, 3), np.uint8))
        report = check(folder)
        assert found(report, "unreadable-image") == ["train0.jpg", "train2.jpg"]
        assert found(report, "empty-file") == ["train1.jpg"]
        assert found(report, "missing-label") == ["train3.png"]
        assert found(report, "unreadable-label") == ["train4.png"]
        assert found(report, "size") == ["train5.png"]
        assert found(report, "label-range") == ["val0.png"]
        assert found(report, "coloured-label") == ["val1.png"]
        assert len(report.faults) == 8 and report.exit_code == 1
        for finding in report.findings:
            assert Path(finding.file).name in finding.message and "\n" not in finding.message
        text = str(report)
        assert "8 faults in 8 files" in text and "holds 7 on 4 pixels" in text

    def test_damage_that_decoders_pass_over(self, folder):
        """OpenCV decodes all three without an error; libjpeg writes two words to the screen."""
        noise = np.random.default_rng(0).integers(0, 256, (200, 240, 3), dtype=np.uint8)
        for i in (0, 1, 2):
            folder.image("train", i, noise + np.uint8(i), quality=95)
            folder.label("train", i, np.zeros((200, 240), np.uint8))
        cut = folder.image_path("train", 0).read_bytes()
        middle = len(cut) // 2
        folder.image_path("train", 0).write_bytes(cut[:middle] + cut[-30:])
        hole = folder.image_path("train", 1).read_bytes()
        folder.image_path("train", 1).write_bytes(hole[:middle] + bytes(9000) + hole[middle + 9000 :])
        camera = folder.image_path("train", 2).read_bytes()
        folder.image_path("train", 2).write_bytes(camera[:-2] + b"U" * 7 + camera[-2:])
        for i in (0, 1, 2):
            assert cv2.imread(str(folder.image_path("train", i))) is not None
        report = check(folder)
        assert {*found(report, "damaged-image")} == {"train0.jpg", "train1.jpg"}
        assert found(report, "odd-file") == ["train2.jpg"]
        assert any("premature end" in f.message for f in report.faults)
        assert any("zeros" in f.message for f in report.faults)

    def test_a_file_that_kills_its_process(self, folder, monkeypatch):
        """As a decoder does that crashes, or that the kernel ends for its memory."""
        decode = facts_module.LoadImageFromFile.decode_content

        def deadly(self, content, path, whole=True):
            if path.endswith(("train1.jpg", "val2.jpg")):
                os.kill(os.getpid(), signal.SIGKILL)
            return decode(self, content, path, whole)

        monkeypatch.setattr(facts_module.LoadImageFromFile, "decode_content", deadly)
        report = check(folder, workers=2)
        assert [Path(f.file).name for f in only(report, "unreadable-image", 2)] == ["train1.jpg", "val2.jpg"]
        assert "killed the process" in report.findings[0].message and report.tallies["train"].labels == 6

    def test_images_that_other_tools_see_otherwise(self, folder):
        grey = np.full((40, 48), 90, np.uint8)
        exif = Image.Exif()
        exif[274] = 3
        folder.image("train", 0, grey)
        folder.image("train", 1, np.random.default_rng(1).integers(0, 99, (40, 48, 3), dtype=np.uint8), exif=exif)
        alpha = np.full((40, 48, 4), 70, np.uint8)
        folder.image("train", 2, alpha, format="PNG")
        deep = cv2.imencode(".png", np.full((40, 48, 3), 700, np.uint16))[1].tobytes()
        folder.image_path("train", 3).write_bytes(deep)
        report = check(folder)
        assert found(report, "grey-image") == ["train0.jpg"]
        assert found(report, "turned-image") == ["train1.jpg"]
        assert found(report, "alpha-image") == ["train2.jpg"]
        assert found(report, "16-bit-image") == ["train3.jpg"]
        assert found(report, "odd-file") == ["train2.jpg", "train3.jpg"]  # PNG files called .jpg
        assert report.exit_code == 0 and len(report.notes) == 6

    def test_a_turned_image_whose_label_is_not(self, folder):
        exif = Image.Exif()
        exif[274] = 6
        folder.image("val", 0, np.random.default_rng(1).integers(0, 99, (40, 48, 3), dtype=np.uint8), exif=exif)
        report = check(folder)
        assert found(report, "size") == ["val0.png"]
        assert "turned by 90 degrees" in report.faults[0].message and found(report, "turned-image") == ["val0.jpg"]
        ignore = {"type": "LoadImageFromFile", "color_type": "color_ignore_orientation"}
        options = {"val_dataloader.dataset.pipeline": [ignore, {"type": "LoadAnnotations"}]}
        only(check(folder, cfg_options=options), "unturned-image")

    def test_the_fourth_channel_of_a_loader_that_keeps_it(self, folder):
        for i in range(3):
            pixels = np.random.default_rng(i).integers(0, 99, (40, 48, 4), dtype=np.uint8)
            folder.image("val", i, pixels, format="PNG")
        assert len(found(check(folder), "alpha-image")) == 3
        keeping = {"type": "LoadImageFromFile", "color_type": "unchanged"}
        options = {"val_dataloader.dataset.pipeline": [keeping, {"type": "LoadAnnotations"}]}
        assert found(check(folder, cfg_options=options), "alpha-image") == []


class TestWhere:
    def test_a_label_of_another_suffix_is_found(self, folder):
        folder.label_path("train", 1).rename(folder.root / "ann/train/train1_mask.png")
        report = check(folder)
        missing = next(f for f in report.findings if f.kind == "missing-label")
        assert "'train1_mask.png'" in missing.remedy and "seg_map_suffix" in missing.remedy
        assert found(report, "spare-label") == ["train1_mask.png"] and len(report.findings) == 2

    def test_the_wrong_suffix_for_all(self, folder):
        findings = only(
            check(folder, cfg_options={"val_dataloader.dataset.seg_map_suffix": ".bmp"}), "missing-label", 3
        )
        assert "Of that name there is 'val0.png'" in findings[0].remedy

    def test_the_wrong_folder_lists_what_is_there(self, folder):
        options = {"val_dataloader.dataset.data_prefix.img_path": "img/valid"}
        report = check(folder, cfg_options=options)
        assert "img/valid' does not exist" in only(report, "data-set")[0].message
        assert "'train/', 'val/'" in report.findings[0].message and report.tallies["train"].labels == 6
        options = {"val_dataloader.dataset.data_prefix.seg_map_path": "labels/val"}
        findings = only(check(folder, cfg_options=options), "missing-label", 3)
        assert "holds 'ann/', 'img/'" in findings[0].remedy

    def test_a_list_of_names_with_their_suffix(self, folder):
        (folder.root / "list.txt").write_text("val0\nval1.jpg\n")
        report = check(folder, cfg_options={"val_dataloader.dataset.ann_file": "list.txt"})
        missing = next(f for f in report.findings if f.kind == "missing-image")
        assert "val1.jpg.jpg" in missing.file and "Take the suffix off" in missing.remedy

    def test_labels_without_images(self, folder):
        folder.image_path("train", 5).unlink()
        assert found(check(folder), "spare-label") == ["train5.png"]
        (folder.root / "list.txt").write_text("train0\ntrain1\n")  # a list means that other files are not meant
        assert check(folder, cfg_options={"train_dataloader.dataset.ann_file": "list.txt"}).findings == []

    def test_images_without_a_label_in_a_plain_folder(self, folder):
        for path in (folder.label_path("train", 2), folder.label_path("train", 4)):
            path.unlink()
        plain = dict(
            type="FolderDataset",
            data_root=str(folder.root),
            classes=["left", "right", "odd"],
            data_prefix=dict(img_path="img/train", seg_map_path="ann/train"),
            pipeline=[dict(type="LoadImageFromFile"), dict(type="LoadAnnotations")],
        )
        report = check(folder, cfg_options={"train_dataloader.dataset": {"_delete_": True, **plain}})
        assert found(report, "missing-label") == ["train2.png", "train4.png"] and len(report.findings) == 2

    def test_classes_that_a_file_names_are_compared_with_the_heads(self, folder):
        (folder.root / "classes.txt").write_bytes(b"left\r\nright\r\nodd\r\n")
        places = dict(
            data_root=str(folder.root), pipeline=[dict(type="LoadImageFromFile"), dict(type="LoadAnnotations")]
        )
        options = {"model.decode_head": dict(type="FCNHead", in_channels=8, channels=4, num_classes=2)}
        for split in ("train", "val"):
            prefix = dict(img_path=f"img/{split}", seg_map_path=f"ann/{split}")
            dataset = dict(_delete_=True, type="FolderDataset", data_prefix=prefix, **places)
            options[f"{split}_dataloader.dataset"] = dataset
        finding = only(check(folder, cfg_options=options), "class-count")[0]
        assert (
            "model.decode_head.num_classes is 2 but train_dataloader.dataset, FolderDataset, has 3" in finding.message
        )
        assert finding.splits == ["train", "val"] and "num_classes=3" in finding.remedy
        options["model.decode_head"]["num_classes"] = 3
        assert check(folder, cfg_options=options).findings == []

    def test_a_pipeline_without_labels(self, folder):
        shutil.rmtree(folder.root / "ann/val")
        options = {"val_dataloader.dataset.pipeline": [{"type": "LoadImageFromFile"}]}
        only(check(folder, cfg_options=options), "unread-labels")


class TestCopies:
    def test_the_same_image_in_training_and_evaluation(self, folder):
        shutil.copy(folder.image_path("train", 3), folder.image_path("val", 1))
        finding = only(check(folder), "leakage")[0]
        assert "val1.jpg" in finding.message and "train3.jpg' of train" in finding.message
        assert sorted(finding.splits) == ["train", "val"]

    def test_the_same_content_twice_in_a_split(self, folder):
        shutil.copy(folder.image_path("val", 0), folder.image_path("val", 1))
        assert "val0.jpg" in only(check(folder), "duplicate")[0].message

    def test_a_name_that_is_listed_twice(self, folder):
        (folder.root / "list.txt").write_text("val0\nval1\nval0\n")
        report = check(folder, cfg_options={"val_dataloader.dataset.ann_file": "list.txt"})
        assert "is listed 2 times" in only(report, "listed-twice")[0].message

    def test_the_same_files_in_two_splits_are_read_once(self, folder):
        text = folder.config.read_text()
        folder.config.write_text(text + "test_dataloader = val_dataloader\n")
        folder.image_path("val", 2).write_bytes(b"")
        report = check(folder)
        assert report.files == 18 and [d.same_as for d in report.data_sets] == ["", "", "val"]
        assert only(report, "empty-file")[0].splits == ["val", "test"]
        folder.config.write_text(text + "test_dataloader = train_dataloader\n")
        report = check(folder)
        assert report.files == 18 and len(found(report, "leakage")) == 6

    def test_inside_wrappers(self, folder):
        folder.config.write_text(
            folder.config.read_text()
            + """
part = train_dataloader["dataset"]
train_dataloader["dataset"] = dict(type="MultiImageMixDataset", pipeline=[], dataset=dict(
    type="RepeatDataset", times=3, dataset=dict(type="ConcatDataset", datasets=[part, dict(part, indices=2)])))
"""
        )
        folder.image_path("train", 1).write_bytes(b"x")
        report = check(folder)
        only(report, "unreadable-image")
        assert report.files == 18 and [d.items for d in report.data_sets if d.split == "train"] in ([6, 2], [2, 6])


class TestCommand:
    def test_codes_text_and_json(self, folder, tmp_path, capsys):
        out = tmp_path / "deep" / "er" / "found.json"
        assert main(["check", str(folder.config), "--workers", "0", "--json", str(out)]) == 0
        assert "No faults" in capsys.readouterr().out
        assert json.loads(out.read_text())["faults"] == 0
        folder.label_path("train", 0).unlink()
        assert main(["check", str(folder.config), "--workers", "0", "--json", str(out), "--split", "train"]) == 1
        said = capsys.readouterr()
        assert "1 fault in 1 file, 0 notes" in said.out and "checking: 100%" in said.err
        report = json.loads(out.read_text())
        assert report["gcseg_check"] == 1 and report["kinds"] == {"missing-label": 1}
        (finding,) = report["findings"]
        assert finding["severity"] == "fault" and finding["file"].endswith("ann/train/train0.png")
        assert report["labels"]["train"]["classes"][0]["name"] == "left"

    def test_what_keeps_the_check_from_running_is_code_2(self, folder, tmp_path, capsys):
        for arguments, words in (
            (["nowhere.py"], "no config file"),
            ([str(folder.config), "--workers", "-1"], "--workers -1"),
            ([str(folder.config), "--split", "test"], "test_dataloader"),
            ([str(folder.config), "--json", str(tmp_path)], "cannot be written"),
            ([str(folder.config), "--cfg-options", "val_dataloader.dataset.type=NoSuch"], "NoSuch"),
        ):
            assert main(["check", *arguments]) == 2
            error = capsys.readouterr().err.strip().splitlines()[-1]
            assert error.startswith("gcseg: error: ") and words in error

    def test_the_tool_is_the_command(self, folder, capsys):
        file = Path(__file__).parents[2] / "tools/analysis_tools/check_dataset.py"
        spec = importlib.util.spec_from_file_location("check_dataset_tool", file)
        tool = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(tool)
        folder.image_path("val", 0).write_bytes(b"")
        assert tool.main([str(folder.config), "--workers", "0"]) == 1
        assert "files of 0 bytes [empty-file], 1 in val" in capsys.readouterr().out

    def test_many_of_a_kind_are_cut_short_in_the_text_alone(self, folder):
        for i in range(6):
            folder.label_path("train", i).write_bytes(b"")
        report = check(folder)
        assert "and 1 more; --json FILE lists all" in str(report) and len(report.as_dict()["findings"]) == 6


def test_every_kind_has_words():
    assert {kind.severity for kind in KINDS.values()} == {FAULT, NOTE}
    assert all(kind.title and not kind.remedy.endswith(".") for kind in KINDS.values())
