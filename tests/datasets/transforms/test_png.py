"""The upper rows of a PNG file are those that OpenCV decodes, and the others are not decoded."""

from __future__ import annotations

import io
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from gcseg.datasets.transforms._png import PngRows
from gcseg.registry import DATASETS
from gcseg.utils import DataError


def noise(height=40, width=30, channels=3):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def by_pillow(array, **options):
    file = io.BytesIO()
    Image.fromarray(array).save(file, format="PNG", **options)
    return file.getvalue()


def chunk(kind, data):
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def with_chunk(content, kind, data):
    """``content`` with one more chunk before its last one, IEND."""
    return content[:-12] + chunk(kind, data) + content[-12:]


def decoded(content):
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)


def never():
    raise AssertionError("all rows were decoded")


@pytest.mark.parametrize("number", [1, 7, 30])
@pytest.mark.parametrize(
    "content",
    [
        by_pillow(noise()),
        by_pillow(noise(), compress_level=0),
        by_pillow(noise(40, 30) // 64, optimize=True),
        cv2.imencode(".png", noise())[1].tobytes(),
        by_pillow(noise(40, 1)),
        with_chunk(by_pillow(noise(), dpi=(72, 72)), b"tEXt", b"Comment\0more"),
    ],
    ids=["pillow", "uncompressed", "few_colours", "opencv", "one_column", "text"],
)
def test_rows_are_opencvs(content, number):
    file = PngRows.of(content, never)
    wanted = decoded(content)
    assert file.shape == wanted.shape
    got = file.rows(number)
    assert got.shape[0] == number and (got == wanted[:number]).all() and got.dtype == np.uint8


def test_most_rows_come_from_opencv():
    file = PngRows.of(by_pillow(noise()), lambda: "all of them")
    assert file.rows(31) == file.rows(40) == "all of them"


orientation = Image.Exif()
orientation[0x0112] = 6


@pytest.mark.parametrize(
    "content",
    [
        by_pillow(noise(channels=1)),
        by_pillow(noise(channels=4)),
        by_pillow(noise(), exif=orientation),
        with_chunk(by_pillow(noise()), b"eXIf", orientation.tobytes()[6:]),
        cv2.imencode(".png", noise().astype(np.uint16))[1].tobytes(),
        by_pillow(noise())[:-1],
        by_pillow(noise())[:-12],
        by_pillow(noise()) + b"more",
        by_pillow(noise()).replace(b"IDAT", b"IDBT"),
        by_pillow(noise())[:80] + b"\x55" + by_pillow(noise())[81:],
        cv2.imencode(".jpg", noise())[1].tobytes(),
        b"",
        b"\x89PNG\r\n\x1a\n",
    ],
    ids=[
        "grey", "alpha", "turned", "turned_at_the_end", "16_bit", "broken_off", "no_end", "more", "unknown_chunk",
        "damaged", "jpeg", "empty", "signature",
    ],
)  # fmt: skip
def test_other_files_are_decoded_as_a_whole(content):
    assert PngRows.of(content, never) is None


def test_what_pillow_cannot_decode_is_left_to_opencv():
    content = by_pillow(noise())
    broken = content[:33] + chunk(b"IDAT", b"no compressed data") + content[-12:]
    assert PngRows.of(broken, lambda: "the decoder that says so").rows(20) == "the decoder that says so"


PIPELINE = [
    {"type": "LoadImageFromFile"},
    {"type": "LoadAnnotations"},
    {"type": "RandomResize", "scale": (36, 24), "ratio_range": (1.9, 2.0), "keep_ratio": True},
    {"type": "RandomCrop", "crop_size": (12, 16)},
]


def dataset(root, pipeline=PIPELINE):
    return DATASETS.build(
        {
            "type": "BaseSegDataset",
            "data_root": str(root),
            "data_prefix": {"img_path": "images", "seg_map_path": "labels"},
            "img_suffix": ".png",
            "metainfo": {"classes": tuple("abcde")},
            "pipeline": pipeline,
        }
    )


def test_a_pipeline_decodes_down_to_the_crop_and_no_further(root, monkeypatch):
    asked = []
    rows = PngRows.rows
    monkeypatch.setattr(PngRows, "rows", lambda self, number: asked.append(number) or rows(self, number))
    items = dataset(root)
    for seed in range(20):
        np.random.seed(seed)
        item = items[seed % 4]
        factor, height = item["scale_factor"][1], round(24 * item["scale_factor"][1])
        np.random.seed(seed)
        np.random.random_sample()
        bottom = np.random.randint(0, height - 12 + 1) + 12
        assert bottom / factor < asked[-1] < bottom / factor + 4 or asked[-1] == 24
    assert len(asked) == 20 and sum(number <= 18 for number in asked) > 5


def test_a_damaged_file_is_named_wherever_the_crop_is(root):
    path = root / "images" / "0.png"
    content = bytearray(path.read_bytes())
    content[-40] ^= 255  # in its last rows
    path.write_bytes(content)
    items = dataset(root)
    for seed in range(10):
        np.random.seed(seed)
        with pytest.raises(DataError, match=r"0\.png.*truncated or no image"):
            items[0]
