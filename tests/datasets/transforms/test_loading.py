"""Reading files: what is right is read exactly, what is wrong is named."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from gcseg.datasets.transforms import LoadAnnotations, LoadImageFromFile, LoadImageFromNDArray
from gcseg.utils import ConfigError, DataError


@pytest.fixture
def label():
    return np.random.default_rng(1).integers(0, 11, (20, 30), dtype=np.uint8)


def load(tmp_path, label, results=None, name="label.png", mode=None, **options):
    path = tmp_path / name
    picture = label if isinstance(label, Image.Image) else Image.fromarray(label, mode)
    picture.save(path)
    return LoadAnnotations(**options)({"seg_map_path": str(path), **(results or {})})["gt_seg_map"]


def message(error) -> str:
    text = str(error.value)
    assert "\n" not in text and len(text) < 1000
    return text


def slow(label, reduce=False, label_map=None, void=(), ignore=255):
    """Pixel by pixel what LoadAnnotations does with a table."""
    out = np.empty_like(label)
    for place, value in np.ndenumerate(label):
        new = int(value)
        if reduce:
            new = ignore if value == 0 else 255 if value == 255 else value - 1
        if label_map and not (reduce and value == 0):
            new = label_map.get(new, new)
        out[place] = ignore if value in void else new
    return out


class TestLabels:
    def test_grey_map_is_read_as_it_is(self, tmp_path, label):
        results = {"seg_map_path": str(tmp_path / "l.png"), "seg_fields": []}
        Image.fromarray(label).save(tmp_path / "l.png")
        LoadAnnotations()(results)
        assert results["gt_seg_map"].dtype == np.uint8 and (results["gt_seg_map"] == label).all()
        assert results["seg_fields"] == ["gt_seg_map"]

    def test_palette_png_gives_indices_and_not_colours(self, tmp_path, label):
        picture = Image.fromarray(label)
        picture.putpalette(list(np.random.default_rng(0).integers(0, 256, 768)))
        assert picture.mode == "P"
        assert (load(tmp_path, picture) == label).all()

    def test_one_bit_and_16_bit_maps(self, tmp_path, label):
        assert (load(tmp_path, Image.fromarray(label > 5)) == (label > 5)).all()
        assert (load(tmp_path, Image.fromarray(label.astype(np.uint16))) == label).all()

    def test_map_one_pixel_high(self, tmp_path, label):
        assert load(tmp_path, label[:1]).shape == (1, 30)

    @pytest.mark.parametrize("ignore", [255, 11, 40])
    @pytest.mark.parametrize("void", [(), (11,), (0, 255)])
    @pytest.mark.parametrize("label_map", [None, {0: 2, 1: 0, 2: 255, 3: 1}])
    @pytest.mark.parametrize("reduce", [False, True])
    def test_numbers_in_the_file_become_labels(self, tmp_path, reduce, label_map, void, ignore):
        label = np.arange(256, dtype=np.uint8).reshape(16, 16)
        results = {"reduce_zero_label": reduce, "label_map": label_map, "void_labels": void, "ignore_index": ignore}
        assert (load(tmp_path, label, results) == slow(label, reduce, label_map, void, ignore)).all()

    def test_one_transform_serves_data_sets_that_differ(self, tmp_path, label):
        Image.fromarray(label).save(tmp_path / "l.png")
        transform = LoadAnnotations()
        for reduce in (True, False, True):
            results = transform({"seg_map_path": str(tmp_path / "l.png"), "reduce_zero_label": reduce})
            assert (results["gt_seg_map"] == slow(label, reduce)).all()

    def test_reduce_zero_label_without_a_data_set(self, tmp_path, label):
        assert (load(tmp_path, label, reduce_zero_label=True) == slow(label, True)).all()

    def test_contradiction_with_the_data_set(self, tmp_path, label):
        with pytest.raises(ConfigError, match="reduce_zero_label=False"):
            load(tmp_path, label, {"reduce_zero_label": False}, reduce_zero_label=True)


class TestLabelFaults:
    def test_label_11_with_11_classes(self, tmp_path, label):
        label[3, 4:6] = 11
        with pytest.raises(DataError) as error:
            load(tmp_path, label, {"num_classes": 11, "ignore_index": 255})
        text = message(error)
        assert "label.png' holds 11 on 2 pixels" in text and "11 classes (0 to 10)" in text
        assert "void_labels=[11]" in text
        cured = load(tmp_path, label, {"num_classes": 11, "ignore_index": 255, "void_labels": (11,)})
        assert (cured[3, 4:6] == 255).all() and (cured != 255).sum() == label.size - 2

    def test_grey_picture_instead_of_class_numbers(self, tmp_path):
        grey = np.arange(200, dtype=np.uint8).reshape(10, 20)
        with pytest.raises(DataError, match="11, 12, .* and 181 more on 189 pixels.*look like grey levels") as error:
            load(tmp_path, grey, {"num_classes": 11})
        assert "void_labels" not in message(error)

    def test_the_remedy_speaks_of_values_in_the_file(self, tmp_path, label):
        label[0, 0] = 12  # one less once label 0 is taken out
        results = {"num_classes": 11, "ignore_index": 255, "reduce_zero_label": True}
        with pytest.raises(DataError, match=r"holds 12 on 1 pixels.*void_labels=\[12\]"):
            load(tmp_path, label, results)
        load(tmp_path, label, {**results, "void_labels": [12]})

    @pytest.mark.parametrize(("value", "ignore", "fine"), [(255, 255, True), (11, 11, True), (255, 11, False)])
    def test_the_ignored_label_is_no_fault(self, tmp_path, label, value, ignore, fine):
        label[0, 0] = value
        results = {"num_classes": 11, "ignore_index": ignore}
        if fine:
            assert load(tmp_path, label, results)[0, 0] == value
        else:
            with pytest.raises(DataError, match="holds 255"):
                load(tmp_path, label, results)

    def test_ignored_label_among_the_classes(self, tmp_path, label):
        label[0, 0] = 10
        assert load(tmp_path, label, {"num_classes": 11, "ignore_index": 0})[0, 0] == 10
        with pytest.raises(DataError, match="holds 10"):
            load(tmp_path, np.full_like(label, 10), {"num_classes": 10, "ignore_index": 0})

    @pytest.mark.parametrize(("mode", "words"), [("RGB", "an RGB picture"), ("RGBA", "RGBA"), ("LA", "transparency")])
    def test_coloured_label(self, tmp_path, label, mode, words):
        with pytest.raises(DataError) as error:
            load(tmp_path, Image.fromarray(label).convert(mode))
        text = message(error)
        assert words in text and "label.png" in text and "index map is expected" in text and "8-bit grey" in text

    def test_palette_png_read_with_opencv(self, tmp_path, label):
        picture = Image.fromarray(label)
        picture.putpalette(list(np.random.default_rng(0).integers(0, 256, 768)))
        with pytest.raises(DataError, match="use 'pillow'"):
            load(tmp_path, picture, imdecode_backend="cv2")

    def test_16_bit_instance_ids(self, tmp_path, label):
        with pytest.raises(DataError, match="values from .* to 26003; class numbers are 0 to 255"):
            load(tmp_path, Image.fromarray(label.astype(np.uint16) * 0 + 26003))

    def test_another_size_than_the_image(self, tmp_path, label):
        with pytest.raises(DataError) as error:
            load(tmp_path, label, {"ori_shape": (40, 60), "img_path": "photo.jpg"})
        text = message(error)
        assert "label.png' is 20x30" in text and "'photo.jpg' is 40x60" in text and "EXIF" not in text
        with pytest.raises(DataError, match="turned by 90 degrees: look at the image's EXIF"):
            load(tmp_path, label, {"ori_shape": (30, 20)})
        assert load(tmp_path, label, {"ori_shape": (20, 30)}).shape == (20, 30)

    def test_missing_file_and_missing_path(self, tmp_path):
        with pytest.raises(DataError) as error:
            LoadAnnotations()({"seg_map_path": str(tmp_path / "a" / "b.png")})
        assert "a/b.png' cannot be read: it does not exist; the nearest existing parent" in message(error)
        with pytest.raises(DataError, match=r"image 'x.jpg' has no seg_map_path"):
            LoadAnnotations()({"img_path": "x.jpg"})

    def test_truncated_png(self, tmp_path, label):
        file = io.BytesIO()
        Image.fromarray(np.random.default_rng(0).integers(0, 9, (64, 64), dtype=np.uint8)).save(file, "PNG")
        (tmp_path / "cut.png").write_bytes(file.getvalue()[: len(file.getvalue()) // 2])
        with pytest.raises(DataError, match=r"label '.*cut\.png' \(\d+ bytes\) is truncated or no image"):
            LoadAnnotations()({"seg_map_path": str(tmp_path / "cut.png")})

    def test_a_byte_that_does_not_fit_to_its_checksum(self, tmp_path, label):
        """Pillow decodes such a file, with other class numbers in it, and says nothing."""
        file = io.BytesIO()
        Image.fromarray(label).save(file, "PNG", compress_level=0)
        content = bytearray(file.getvalue())
        content[len(content) // 2] ^= 1
        (tmp_path / "bit.png").write_bytes(content)
        with pytest.raises(DataError, match=r"bit\.png'.*do not fit to their checksum"):
            LoadAnnotations()({"seg_map_path": str(tmp_path / "bit.png")})

    def test_no_damaged_byte_of_a_png_changes_a_label_in_silence(self, label):
        file = io.BytesIO()
        Image.fromarray(label).save(file, "PNG")
        load, refused = LoadAnnotations(), 0
        for place in range(len(file.getvalue())):
            content = bytearray(file.getvalue())
            content[place] ^= 0x55
            try:
                assert (load.index_map(load.decode_content(bytes(content), "the file"), "the file") == label).all()
            except DataError as error:
                assert "the file" in str(error)
                refused += 1
        assert refused > 0.9 * len(content)

    def test_a_file_that_claims_more_pixels_than_there_is_memory_for(self, tmp_path):
        """A header of 60000 x 60000 pixels and nothing behind it; Pillow's error for that is no OSError."""
        head = struct.pack(">4sIIBBBBB", b"IHDR", 60000, 60000, 8, 0, 0, 0, 0)
        chunks = [(head, 13), (b"IEND", 0)]
        data = b"".join(struct.pack(">I", size) + c + struct.pack(">I", zlib.crc32(c)) for c, size in chunks)
        (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
        for load, key in ((LoadAnnotations(), "seg_map_path"), (LoadImageFromFile(), "img_path")):
            with pytest.raises(DataError, match=r"bomb\.png"):
                load({key: str(tmp_path / "bomb.png")})

    def test_a_nul_in_the_name(self):
        with pytest.raises(DataError, match="cannot be read.*null"):
            LoadAnnotations()({"seg_map_path": "a\0b.png"})

    def test_a_label_that_is_loaded_before_its_image(self, tmp_path, label):
        Image.fromarray(label).save(tmp_path / "label.png")
        Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / "photo.png")
        results = {"seg_map_path": str(tmp_path / "label.png"), "img_path": str(tmp_path / "photo.png")}
        with pytest.raises(DataError, match=r"label\.png' is 20x30 but its image .*photo\.png' is 40x60"):
            LoadImageFromFile()(LoadAnnotations()(results))


def test_the_range_check_agrees_with_looking_at_every_value():
    for num_classes in (1, 2, 19, 150, 254, 255):
        for ignore in (0, 1, 19, 200, 254, 255):
            for value in range(256):
                labels = np.zeros((3, 4), np.uint8)
                labels[1, 2] = value
                told = LoadAnnotations.any_beyond(labels, {"num_classes": num_classes, "ignore_index": ignore})
                assert told == (value >= num_classes and value != ignore), (num_classes, ignore, value)
    assert not LoadAnnotations.any_beyond(labels, {"num_classes": None})
    assert not LoadAnnotations.any_beyond(labels, {"num_classes": 256})


def encoded(suffix: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return cv2.imencode(suffix, cv2.resize(noise, (120, 90)))[1].tobytes()


class TestImages:
    @pytest.mark.parametrize("backend", ["cv2", "pillow"])
    def test_bgr_and_shapes(self, tmp_path, backend):
        rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
        Image.fromarray(rgb).save(tmp_path / "i.png")
        results = LoadImageFromFile(imdecode_backend=backend)({"img_path": str(tmp_path / "i.png")})
        assert (results["img"] == rgb[:, :, ::-1]).all() and results["img"].dtype == np.uint8
        assert results["img_shape"] == results["ori_shape"] == (5, 7)

    def test_to_float32(self, tmp_path):
        (tmp_path / "i.png").write_bytes(encoded(".png"))
        assert LoadImageFromFile(to_float32=True)({"img_path": str(tmp_path / "i.png")})["img"].dtype == np.float32

    @pytest.mark.parametrize("suffix", [".jpg", ".png"])
    @pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.97])
    @pytest.mark.parametrize("backend", ["cv2", "pillow"])
    def test_truncated_file(self, tmp_path, suffix, part, backend):
        content = encoded(suffix)
        path = tmp_path / f"cut{suffix}"
        path.write_bytes(content[: int(len(content) * part)])
        with pytest.raises(DataError) as error:
            LoadImageFromFile(imdecode_backend=backend)({"img_path": str(path)})
        text = message(error)
        assert str(path) in text and ("truncated or no image" in text or "empty file" in text) and "again" in text

    @pytest.mark.parametrize("suffix", [".jpg", ".png"])
    def test_something_behind_the_end_is_no_fault(self, tmp_path, suffix):
        content = encoded(suffix)
        (tmp_path / f"whole{suffix}").write_bytes(content)
        (tmp_path / f"more{suffix}").write_bytes(content + b"maker's note" * 50)
        a, b = (LoadImageFromFile()({"img_path": str(tmp_path / f"{n}{suffix}")})["img"] for n in ("whole", "more"))
        assert (a == b).all()

    def test_no_image_at_all_missing_and_folder(self, tmp_path):
        (tmp_path / "text.jpg").write_text("hello")
        with pytest.raises(DataError, match=r"text\.jpg' \(5 bytes\) is truncated or no image"):
            LoadImageFromFile()({"img_path": str(tmp_path / "text.jpg")})
        with pytest.raises(DataError, match=r"gone\.jpg' cannot be read: it does not exist; the nearest"):
            LoadImageFromFile()({"img_path": str(tmp_path / "gone.jpg")})
        with pytest.raises(DataError, match="cannot be read: Is a directory"):
            LoadImageFromFile()({"img_path": str(tmp_path)})

    def test_a_tiff_of_floating_point_numbers(self, tmp_path):
        cv2.imwrite(str(tmp_path / "height.tif"), np.random.default_rng(0).random((9, 7, 3), dtype=np.float32))
        if cv2.imread(str(tmp_path / "height.tif")) is not None:
            pytest.skip("OpenCV 4 rounds them to 8 bits by itself")
        with pytest.raises(DataError, match=r"height\.tif'.*a TIFF .*floating-point.*8 bits"):
            LoadImageFromFile()({"img_path": str(tmp_path / "height.tif")})

    def test_ignore_empty_gives_none(self, tmp_path):
        assert LoadImageFromFile(ignore_empty=True)({"img_path": str(tmp_path / "gone.jpg")}) is None

    def test_from_array(self):
        img = np.zeros((4, 6, 3), np.uint8)
        results = LoadImageFromNDArray()({"img": img})
        assert results["img"] is img and results["img_path"] is None
        assert results["img_shape"] == results["ori_shape"] == (4, 6)
        assert LoadImageFromNDArray(to_float32=True)({"img": img})["img"].dtype == np.float32
        with pytest.raises(DataError, match=r"str.*numpy array \(H, W, 3\)"):
            LoadImageFromNDArray()({"img": "a.jpg"})
