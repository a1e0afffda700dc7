"""What a check says of the values in labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from gcseg.analysis import check_data


def found(report, kind):
    return sorted(Path(f.file).name for f in report.findings if f.kind == kind)


def check(folder, **options):
    return check_data(folder.config, workers=0, **options)


class TestLabelValues:
    def remedies(self, folder, **options):
        findings = [f for f in check(folder, cfg_options=options or None).findings if f.kind == "label-range"]
        assert findings
        return " ".join({f.remedy for f in findings if "train" in f.splits})

    def test_zero_is_other(self, folder):
        folder.relabel("train", lambda label: np.where(label == 255, 255, label + 1).astype(np.uint8))
        assert "set reduce_zero_label=True" in self.remedies(folder) and "0 never occurs" in self.remedies(folder)
        reduce = {"train_dataloader.dataset.reduce_zero_label": True}
        assert check(folder, cfg_options=reduce).exit_code == 0

    def test_a_value_that_means_unlabelled(self, folder):
        folder.relabel("train", lambda label: np.where(label == 255, 11, label).astype(np.uint8))
        assert "void_labels=[11]" in self.remedies(folder)
        assert check(folder, cfg_options={"train_dataloader.dataset.void_labels": [11]}).exit_code == 0

    def test_more_classes_than_the_config_says(self, folder):
        folder.relabel("train", lambda label: np.where(label == 2, 2 + np.arange(48) % 4, label).astype(np.uint8))
        text = self.remedies(folder)
        assert "from 0 to 5 without a gap" in text and "num_classes=3 is too small" in text and "num_classes=6" in text

    def test_another_ignored_label(self, folder):
        options = {f"{split}_dataloader.dataset.ignore_index": 254 for split in ("train", "val")}
        assert "set ignore_index=255" in self.remedies(folder, **options)

    def test_grey_levels(self, folder):
        folder.relabel("train", lambda label: np.arange(label.size, dtype=np.uint8).reshape(label.shape))
        assert "grey levels or instance ids" in self.remedies(folder)

    def test_a_palette_png_with_a_palette_of_its_own(self, folder):
        for i in range(6):
            picture = Image.fromarray(folder.read_label("train", i) % 4 * 60)
            picture.putpalette(list(range(256)) * 3)
            folder.label("train", i, picture)
        assert "palette PNGs" in self.remedies(folder)

    def test_a_mask_of_0_and_255(self, folder):
        for split in ("train", "val"):
            folder.relabel(split, lambda label: np.where(label == 1, 255, 0).astype(np.uint8))
        two = {f"{split}_dataloader.dataset.metainfo.{k}": v for split in ("train", "val")
               for k, v in (("classes", ["a", "b"]), ("palette", [[0, 0, 0], [9, 9, 9]]))}  # fmt: skip
        report = check(folder, cfg_options=two)
        assert {f.kind for f in report.findings} == {"labels-hint", "absent-class"}
        assert all("Write 1 in place of 255" in f.message for f in report.findings if f.kind == "labels-hint")

    def test_zero_is_a_class_after_all(self, folder):
        report = check(folder, cfg_options={"train_dataloader.dataset.reduce_zero_label": True})
        hint = next(f for f in report.findings if f.kind == "labels-hint")
        assert "Is reduce_zero_label=True right?" in hint.message
        assert "'odd'" in next(f for f in report.findings if f.kind == "absent-class").message

    def test_classes_that_never_occur_and_labels_with_nothing(self, folder):
        folder.relabel("val", lambda label: np.where(label == 2, 255, label).astype(np.uint8))
        folder.label("train", 0, np.full((40, 48), 255, np.uint8))
        report = check(folder)
        assert found(report, "ignored-label") == ["train0.png"] and report.exit_code == 0
        assert "val: no label shows 'odd'" in next(f for f in report.findings if f.kind == "absent-class").message

    def test_colours(self, folder):
        palette = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
        label = folder.read_label("train", 0) % 3
        folder.label("train", 0, palette[label])
        folder.label("train", 1, np.repeat(label[:, :, None], 3, 2))
        folder.label("train", 2, palette[label] // 2)
        folder.label("train", 3, Image.fromarray(palette[label]).convert("RGBA"))
        remedies = {Path(f.file).name: f.remedy for f in check(folder).findings}
        assert "All its colours are in the data set's palette" in remedies["train0.png"]
        assert "getchannel(0)" in remedies["train1.png"]
        assert "3 are not in the data set's palette, such as (0, 0, 127)" in remedies["train2.png"]
        assert remedies["train3.png"] == remedies["train0.png"]

    def test_depth_and_compression(self, folder):
        label = folder.read_label("train", 0)
        folder.label("train", 0, label.astype(np.uint16))
        folder.label("train", 1, label.astype(np.uint16) * 200)
        folder.label("train", 2, label // 255, format="JPEG", quality=100)
        report = check(folder)
        assert found(report, "16-bit-label") == ["train0.png"]
        assert found(report, "wide-label") == ["train1.png"] and found(report, "lossy-label") == ["train2.png"]
