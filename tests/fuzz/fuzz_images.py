"""Images and labels, through the data sets and pipelines of the recipes."""

from __future__ import annotations

import io
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

import cv2
import numpy as np
from formats import GREY, GREY_ALPHA, PALETTE, RGB, RGBA, change_jpeg, change_png, png, why_unsound
from fuzzing import Case, Target, Wrong
from mutations import blind
from PIL import Image

from gcseg.utils.errors import GcsegError

SIZE = 24, 36  # height, width
_RECIPES = {
    "cityscapes": "gcnet_r50-d8_4xb2-40k_cityscapes-512x1024",
    "ade20k": "gcnet_r50-d8_4xb4-80k_ade20k-512x512",
    "voc": "gcnet_r50-d8_4xb4-20k_voc12aug-512x512",
}
_FILES = {
    "cityscapes": ("leftImg8bit/val/a/a_leftImg8bit.png", "gtFine/val/a/a_gtFine_labelTrainIds.png"),
    "ade20k": ("images/validation/a.jpg", "annotations/validation/a.png"),
    "voc": ("JPEGImages/a.jpg", "SegmentationClass/a.png"),
    "folder": ("images/val/a.jpg", "labels/val/a.png"),
}
_CLASSES = {"cityscapes": 19, "ade20k": 150, "voc": 21, "folder": 5}
_RNG = np.random.default_rng(0)
_PHOTO = _RNG.integers(0, 256, (*SIZE, 4), dtype=np.uint8)


def _saved(pixels: np.ndarray, form: str, mode: str | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(file, form, **options)
    return file.getvalue()


@cache
def _images() -> dict[str, bytes]:
    """Images that must be taken, of every kind that people have."""
    turned = Image.Exif()
    turned[0x0112] = 3
    return {
        "RGB": png(_PHOTO[..., :3], RGB),
        "RGB filtered": _saved(_PHOTO[..., :3], "PNG"),
        "RGB 16": png(_PHOTO[..., :3].astype(int) * 257, RGB, 16),
        "grey": png(_PHOTO[..., 0], GREY),
        "grey 16": png(_PHOTO[..., 0].astype(int) * 257, GREY, 16),
        "grey 1": png(_PHOTO[..., 0] % 2, GREY, 1),
        "palette": png(_PHOTO[..., 0], PALETTE),
        "grey alpha": png(_PHOTO[..., :2], GREY_ALPHA),
        "RGBA": png(_PHOTO, RGBA),
        "JPEG": _saved(_PHOTO[..., :3], "JPEG"),
        "JPEG grey": _saved(_PHOTO[..., 0], "JPEG"),
        "JPEG progressive": _saved(_PHOTO[..., :3], "JPEG", progressive=True, quality=95),
        "JPEG CMYK": _saved(_PHOTO[..., :3], "JPEG", "CMYK"),
        "JPEG upside down": _saved(_PHOTO[..., :3], "JPEG", exif=turned),
        "BMP": _saved(_PHOTO[..., :3], "BMP"),
        "TIFF": _saved(_PHOTO[..., :3], "TIFF", compression="tiff_lzw"),
        "WebP": _saved(_PHOTO[..., :3], "WEBP"),
    }


def _others() -> dict[str, bytes]:
    """Images that may be refused."""
    return {
        "GIF": _saved(_PHOTO[..., 0], "GIF"),
        "ICO": _saved(_PHOTO[..., :3], "ICO"),
        "PDF": _saved(_PHOTO[..., :3], "PDF"),
        "EPS": _saved(_PHOTO[..., :3], "EPS"),
        "PPM": _saved(_PHOTO[..., :3], "PPM"),
        "TGA": _saved(_PHOTO[..., :3], "TGA"),
        "JPEG 2000": _saved(_PHOTO[..., :3], "JPEG2000"),
        "AVIF": b"\0\0\0\x1cftypavif" + bytes(100),
        "text": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
        "page": b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n",
        "one pixel": png(_PHOTO[:1, :1, :3], RGB),
        "one row": png(_PHOTO[:1, :, :3], RGB),
        "turned": png(np.ascontiguousarray(_PHOTO[..., :3].transpose(1, 0, 2)), RGB),
    }


@cache
def label_values(name: str) -> np.ndarray:
    """The numbers in a good label file, (H, W) uint8: all classes, and 255."""
    low = 1 if name == "ade20k" else 0
    values = np.random.default_rng(1).integers(low, _CLASSES[name] + low, SIZE).astype(np.uint8)
    values[:2, :2] = 255 if name != "ade20k" else 0
    return values


@cache
def _labels(name: str) -> dict[str, bytes]:
    """Labels that must be taken."""
    values = label_values(name)
    return {
        "grey": png(values, GREY),
        "grey filtered": _saved(values, "PNG"),
        "grey 16": png(values, GREY, 16),
        "palette": png(values, PALETTE),
        "TIFF": _saved(values, "TIFF", compression="tiff_lzw"),
        "BMP": _saved(values, "BMP"),
    }


@cache
def _bad_labels(name: str) -> dict[str, bytes]:
    """Labels of which all but those of few grey levels must be refused."""
    values = label_values(name).astype(int)
    return {
        "RGB": png(_PHOTO[..., :3], RGB),
        "RGBA": png(_PHOTO, RGBA),
        "grey alpha": png(_PHOTO[..., :2], GREY_ALPHA),
        "16 bits": png(values + 256, GREY, 16),
        "other size": png(values[:-1], GREY),
        "turned": png(np.ascontiguousarray(values.T), GREY),
        "out of range": png(np.where(values == 1, 200, values), GREY),
        "float": _saved(values.astype(np.float32) + 0.5, "TIFF"),
        "negative": _saved(values.astype(np.int32) - 5, "TIFF"),
        "JPEG of RGB": _saved(_PHOTO[..., :3], "JPEG"),
    }


def _make(name: str, rng: Random) -> Case:
    image_file, label_file = _FILES[name]
    images, labels = _images(), _labels(name)
    kind = rng.choice(list(images))
    label_kind = rng.choice(list(labels))
    files: dict[str, Any] = {image_file: images[kind], label_file: labels[label_kind]}
    victim, pool = rng.choice(((image_file, images), (label_file, labels)))
    way = rng.random()
    facts = {"good": False, "image kept": victim != image_file, "label kept": victim != label_file}
    if way < 0.08:
        facts.update({"good": True, "image kept": True, "label kept": True})
        note = f"{kind}, {label_kind}"
    elif way < 0.18:
        bad = _others() if victim == image_file else _bad_labels(name)
        note = rng.choice(list(bad))
        facts["bad"] = victim == label_file and note
        files[victim] = bad[note]
    else:
        of = rng.choice(list(pool))
        data = pool[of]
        if way < 0.6 and data.startswith(b"\x89PNG"):
            data, note = change_png(data, rng)
        elif way < 0.6 and data.startswith(b"\xff\xd8"):
            data, note = change_jpeg(data, rng)
        else:
            data, note = blind(data, rng, [*images.values(), *labels.values()])
        files[victim], note = data, f"{Path(victim).name} {of}: {note}"
    files["ImageSets/Segmentation/val.txt"] = b"a\n"
    return Case(files, [Path(victim).name if facts["good"] is False else "a"], note, facts)


def _shrink(pipeline: list) -> list:
    """The pipeline of a recipe, for small pictures."""
    small = {"scale": (96, 64), "crop_size": (32, 32), "size": (32, 32)}
    return [{key: small.get(key, value) for key, value in step.items()} for step in pipeline]


@cache
def _datasets(name: str, folder: Path) -> tuple:
    """The data set with the recipe's pipelines for training and for testing."""
    from gcseg.config import load_config
    from gcseg.registry import DATASETS

    cfg = load_config(_RECIPES.get(name, _RECIPES["voc"]), check=False)
    if name == "folder":
        of: dict = dict(type="FolderDataset", split="val", classes=[f"class {i}" for i in range(_CLASSES[name])])
    else:
        of = cfg.val_dataloader.dataset.to_dict()
    return tuple(
        DATASETS.build({**of, "data_root": str(folder), "pipeline": _shrink(pipeline), "_scope_": "gcseg"})
        for pipeline in (cfg.train_pipeline, cfg.test_pipeline)
    )


def expected_labels(name: str) -> np.ndarray:
    """What a good label file becomes, (H, W) int64."""
    values = label_values(name).astype(np.int64)
    return np.where(values == 0, 255, values - 1) if name == "ade20k" else values


def _check(name: str, case: Case, folder: Path) -> None:
    try:
        train, test = (_run(dataset) for dataset in _datasets(name, folder))
    except GcsegError as error:
        if case.facts["good"]:
            raise Wrong(f"refuses a good file: {error}") from error
        raise
    for file in _FILES[name]:
        why = why_unsound(case.files[file])
        if why:
            raise Wrong(f"takes {why}")
    if case.facts.get("bad"):
        raise Wrong(f"takes a label that is {case.facts['bad']}")
    image, label, size = test
    if label.shape != tuple(size):
        raise Wrong(f"label of {label.shape} for an image of {size}")
    if train[0].shape[1:] != train[1].shape:
        raise Wrong(f"crop of {tuple(train[0].shape)} with a label of {train[1].shape}")
    for _, values, _ in (train, test):
        odd = set(np.unique(values).tolist()) - {*range(_CLASSES[name]), 255}
        if odd:
            raise Wrong(f"labels out of range: {sorted(odd)[:5]}")
    if image.dtype != np.uint8 or image.shape[0] != 3 or not image.size:
        raise Wrong(f"image of {image.dtype}, {image.shape}")
    if case.facts["label kept"] and not np.array_equal(label, expected_labels(name)):
        raise Wrong("other labels than in the file")
    _compare_decoders(case.files[_FILES[name][1]], name, label)


def _compare_decoders(content: bytes, name: str, label: np.ndarray) -> None:
    """Of a grey PNG of 8 bits, OpenCV makes the same labels, or nothing."""
    if content.startswith(b"\x89PNG") and content[24:26] == bytes((8, GREY)):
        other = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        if other is not None and other.ndim == 2:
            values = other.astype(np.int64)
            values = np.where(values == 0, 255, values - 1) if name == "ade20k" else values
            if values.shape != label.shape or not np.array_equal(values, label):
                raise Wrong("two decoders disagree on the label")


def _run(dataset: Any) -> tuple[np.ndarray, np.ndarray, tuple]:
    np.random.seed(0)
    item = dataset[0]
    sample = item["data_samples"]
    return item["inputs"].numpy(), sample.gt_sem_seg.data[0].numpy(), sample.ori_shape


def targets() -> dict[str, Target]:
    """One for each data set whose files differ."""
    return {name: Target(name, partial(_make, name), partial(_check, name)) for name in _FILES}
