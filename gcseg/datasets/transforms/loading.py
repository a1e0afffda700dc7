"""Reading images and index maps. What is wrong with a file is said here, by name, before it reaches a device."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import partial
from typing import Any

import cv2
import mmcv
import numpy as np
from mmcv.transforms import LoadAnnotations as _LoadAnnotations
from mmcv.transforms import LoadImageFromFile as _LoadImageFromFile
from mmengine import fileio

from gcseg.datasets._files import is_local, shorten, where_it_stops
from gcseg.datasets.store import open_stored, stored_entry
from gcseg.datasets.transforms._png import PngRows, has_wrong_checksum
from gcseg.registry import TRANSFORMS
from gcseg.utils.errors import ConfigError, DataError

_PNG_END = b"IEND\xae\x42\x60\x82"
_JPEG_END = b"\xff\xd9"
_UNWRITTEN = bytes(16)
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_file(path: str, backend_args: Mapping | None, what: str) -> bytes:
    """All bytes of a file, or a DataError that says where its path stops to exist; ``what`` is image or label."""
    try:
        content = fileio.get(path, backend_args=backend_args)
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        detail = getattr(error, "strerror", None) or str(error)
        if isinstance(error, FileNotFoundError) and is_local(path, backend_args):
            detail = f"it does not exist; {where_it_stops(path)}"
        raise DataError(
            f"{what} {str(path)!r} cannot be read: {detail}. Add the file or take it off the list"
        ) from error
    if not content:
        raise DataError(f"{what} {str(path)!r} is an empty file (0 bytes); copy it again")
    return content


def _refuse_truncated(content: bytes) -> None:
    """Raise when a JPEG or PNG file breaks off. OpenCV decodes such a file and paints the rest grey or black."""
    tail = content[-64:]
    if content.startswith(b"\xff\xd8"):
        complete = _JPEG_END in tail
    elif content.startswith(b"\x89PNG"):
        complete = _PNG_END in tail
    else:
        complete = True
    if not complete:  # broken off, or with something behind its end: a strict decoder tells
        from PIL import Image

        # Room that was reserved and never written to. Zeros are valid data of a JPEG.
        if content.endswith(_UNWRITTEN) and not content.rstrip(b"\0").endswith((_JPEG_END, _PNG_END)):
            raise ValueError("it ends in zeros and was not written to its end")
        with Image.open(io.BytesIO(content)) as image:
            image.load()


def _decode(content: bytes, path: str, flag: str, backend: str, what: str) -> np.ndarray:
    """Pixels of an image file, or a DataError that names it."""
    unknown = f"unknown format that begins with {content[:8]!r}"
    if content.startswith(_TIFF):
        unknown = "a TIFF of another kind than is read here (of floating-point numbers?); save it with 8 bits a channel"
    reason: object = unknown
    try:
        if backend == "pillow" and has_wrong_checksum(content):
            raise ValueError("its bytes do not fit to their checksum")
        if backend != "pillow":  # Pillow is strict about the end
            _refuse_truncated(content)
        array = mmcv.imfrombytes(content, flag=flag, backend=backend)
    except Exception as error:  # a decoder that is given damaged bytes raises whatever it runs into
        array, reason = None, unknown if type(error).__name__ == "UnidentifiedImageError" else error
    if array is None or not array.size:
        text = " ".join(str(reason).split()) or type(reason).__name__
        raise DataError(
            f"{what} {str(path)!r} ({len(content)} bytes) is truncated or no image: {text}. Copy the file again or "
            "take it off the list"
        )
    return array


def check_size(label: tuple[int, ...], image: tuple[int, ...], results: Mapping[str, Any]) -> None:
    """Refuse a label of another size (H, W) than its image."""
    if label == image:
        return
    turned = " One is the other turned by 90 degrees: look at the image's EXIF orientation." * (image[::-1] == label)
    raise DataError(
        f"label {str(results.get('seg_map_path'))!r} is {label[0]}x{label[1]} but its image "
        f"{str(results.get('img_path'))!r} is {image[0]}x{image[1]} (height x width); they must be equal.{turned} Make "
        "the label again at the image's size, or pair the right files"
    )


@TRANSFORMS.register_module()
class LoadImageFromFile(_LoadImageFromFile):
    """Reads ``results['img_path']``.

    Sets ``img`` (H, W, 3), BGR, uint8 (float32 with ``to_float32``), ``img_shape`` and ``ori_shape`` (H, W). Arguments
    are mmcv's. Unlike mmcv's, a file that breaks off is an error: OpenCV alone would fill it up with grey. From a data
    set with a decoded store the pixels are taken and not the file.

    Raises:
        DataError: the file is missing, truncated or no image, and ``ignore_empty`` is off. With ``ignore_empty`` the
            result is None, and the data set draws another item.
    """

    @property
    def decoding(self) -> str:
        """How a file becomes pixels, in a word; a decoded store is of use to whoever decodes in the same way."""
        return f"{self.color_type}, {self.imdecode_backend}"

    def transform(self, results: dict) -> dict | None:
        """Add the image to ``results``."""
        return self.load(results)

    def load(self, results: dict, writable: bool = True, whole: bool = True) -> dict | None:
        """Add the image to ``results``.

        Args:
            results: with ``img_path``.
            writable: whether it is an array to write to; that of a decoded store can be read-only, and is then read
                when it is used.
            whole: whether it is an array; without, it can be :class:`PngRows`.

        Returns:
            ``results``, or None when there is no image and ``ignore_empty`` is on.
        """
        path = results["img_path"]
        stored = stored_entry(results, "img_path")
        img: Any
        try:
            if stored is not None:
                img = open_stored(stored, path, self.decoding)
            else:
                img = self.decode(path, whole or self.to_float32)
        except DataError:
            if self.ignore_empty:
                return None
            raise
        if results.get("gt_seg_map") is not None:  # loaded before its image
            check_size(results["gt_seg_map"].shape, img.shape[:2], results)
        results["img_shape"] = img.shape[:2]
        results["ori_shape"] = img.shape[:2]
        if self.to_float32:
            img = img.astype(np.float32)
        elif writable and isinstance(img, np.ndarray) and not img.flags.writeable:
            img = img.copy()
        results["img"] = img
        return results

    def decode(self, path: str, whole: bool = True) -> Any:
        """Pixels of a file, (H, W, 3) or as ``color_type`` says; where ``whole`` is off, maybe :class:`PngRows`."""
        return self.decode_content(read_file(path, self.backend_args, "image"), path, whole)

    def decode_content(self, content: bytes, path: str, whole: bool = True) -> Any:
        """The same of a file that has been read already; ``path`` is for errors."""
        decode_all = partial(_decode, content, path, self.color_type, self.imdecode_backend, "image")
        if not whole and (self.color_type, self.imdecode_backend) == ("color", "cv2"):
            rows = PngRows.of(content, decode_all)
            if rows is not None:
                return rows
        return decode_all()


@TRANSFORMS.register_module()
class LoadImageFromNDArray(_LoadImageFromFile):
    """Takes ``results['img']``, (H, W, 3) BGR, as it is; for images that are in memory already.

    Sets ``img_path`` to None, and ``img_shape`` and ``ori_shape`` (H, W). ``to_float32`` makes it float32.
    """

    def transform(self, results: dict) -> dict:
        """Describe the image that is in ``results``."""
        img = results["img"]
        if not isinstance(img, np.ndarray) or img.ndim not in (2, 3):
            raise DataError(
                f"LoadImageFromNDArray: results['img'] is {type(img).__name__} of shape {getattr(img, 'shape', None)}; "
                "give a numpy array (H, W, 3) in BGR order"
            )
        results["img"] = img.astype(np.float32) if self.to_float32 else img
        results["img_path"] = None
        results["img_shape"] = img.shape[:2]
        results["ori_shape"] = img.shape[:2]
        return results


@TRANSFORMS.register_module()
class LoadAnnotations(_LoadAnnotations):
    """Reads ``results['seg_map_path']``, an index map: one class number per pixel, grey or palette PNG.

    Sets ``gt_seg_map`` (H, W) uint8 and adds its name to ``seg_fields``. The numbers in the file become labels in this
    order, in one pass: ``reduce_zero_label`` (0 becomes ignored, the others go down by one), ``label_map``, and the
    file's ``void_labels`` become ``ignore_index``; all four come from the data set.

    Args:
        reduce_zero_label: None takes the data set's; another value than the data set's is an error.
        backend_args: file backend of mmengine.
        imdecode_backend: ``"pillow"`` keeps the indices of palette PNGs; ``"cv2"`` would turn them into colours.

    Raises:
        DataError: the file is missing, truncated, coloured, of another size than the image, or holds a label that is
            neither a class (``results['num_classes']``) nor ``results['ignore_index']``.
        ConfigError: ``reduce_zero_label`` contradicts the data set.
    """

    def __init__(
        self,
        reduce_zero_label: bool | None = None,
        backend_args: dict | None = None,
        imdecode_backend: str = "pillow",
    ) -> None:
        super().__init__(
            with_bbox=False,
            with_label=False,
            with_seg=True,
            with_keypoints=False,
            imdecode_backend=imdecode_backend,
            backend_args=backend_args,
        )
        self.reduce_zero_label = reduce_zero_label
        self._tables: dict[tuple, np.ndarray | None] = {}

    @property
    def decoding(self) -> str:
        """How a file becomes an index map, in a word; see :class:`LoadImageFromFile`."""
        return f"index map, {self.imdecode_backend}"

    def load(self, results: dict, writable: bool = True) -> dict:
        """Add the map to ``results``; that of a decoded store can be read-only, and is then read when it is used."""
        results = super().transform(results)
        if writable and not results["gt_seg_map"].flags.writeable:
            results["gt_seg_map"] = results["gt_seg_map"].copy()
        return results

    def transform(self, results: dict) -> dict:
        """Add the map to ``results``."""
        return self.load(results)

    def decode(self, path: str) -> np.ndarray:
        """Index map of a file, (H, W) uint8, as it stands there."""
        return self.index_map(self.decode_content(read_file(path, self.backend_args, "label"), path), path)

    def decode_content(self, content: bytes, path: str) -> np.ndarray:
        """Pixels of a file that has been read already, of whatever shape and type it has; ``path`` is for errors."""
        return _decode(content, path, "unchanged", self.imdecode_backend, "label")

    def _load_seg_map(self, results: dict) -> None:
        path = results.get("seg_map_path")
        if path is None:
            raise DataError(
                f"LoadAnnotations: image {results.get('img_path')!r} has no seg_map_path; set data_prefix.seg_map_path "
                "of the data set, or take LoadAnnotations out of the pipeline"
            )
        stored = stored_entry(results, "seg_map_path")
        if stored is not None:
            seg_map = open_stored(stored, path, self.decoding)
        else:
            seg_map = self.decode(path)
        if results.get("ori_shape") is not None:
            check_size(seg_map.shape, tuple(results["ori_shape"]), results)
        table = self.table(results)
        in_file = seg_map
        if table is not None:
            seg_map = cv2.LUT(seg_map, table)
        values = None
        if stored is not None and stored.values is not None:  # then the map itself need not be looked at
            values = np.array(stored.values, np.uint8)
            values = values if table is None else table[values]
        if self.any_beyond(seg_map if values is None else values, results):
            self._refuse_labels(seg_map, in_file, results)
        results["gt_seg_map"] = seg_map
        results.setdefault("seg_fields", []).append("gt_seg_map")

    def index_map(self, array: np.ndarray, path: str) -> np.ndarray:
        """A decoded file as (H, W) uint8, or a DataError that says why it is no index map."""
        if array.ndim == 3 and array.shape[2] == 1:
            array = array[:, :, 0]
        if array.ndim != 2:
            kind = {2: "grey with transparency", 3: "an RGB picture", 4: "an RGBA picture"}.get(
                array.shape[-1], "no map"
            )
            hint = ""
            if self.imdecode_backend != "pillow":
                hint = f" imdecode_backend={self.imdecode_backend!r} turns palette PNGs into colours: use 'pillow'."
            raise DataError(
                f"label {str(path)!r} is {kind} (shape {array.shape}) where an index map is expected: one channel, "
                f"each pixel the number of its class.{hint} Convert the colours to class numbers once, and save 8-bit "
                "grey PNG"
            )
        if array.dtype == np.uint8:
            return array
        if array.dtype != bool:
            low, high = array.min(), array.max()
            if array.dtype.kind not in "iu" or low < 0 or high > 255:
                raise DataError(
                    f"label {str(path)!r} holds {array.dtype} values from {low} to {high}; class numbers are 0 to 255 "
                    "(instance ids or depth?). Convert it to an 8-bit index map"
                )
        return array.astype(np.uint8)

    def table(self, results: Mapping[str, Any]) -> np.ndarray | None:
        """What each of the 256 values in a file becomes, (256,) uint8; None when nothing changes."""
        theirs = results.get("reduce_zero_label")
        reduce = self.reduce_zero_label if theirs is None else theirs
        if self.reduce_zero_label is not None and self.reduce_zero_label != reduce:
            raise ConfigError(
                f"LoadAnnotations(reduce_zero_label={self.reduce_zero_label}) contradicts the data set, which has "
                f"reduce_zero_label={reduce}; set it on the data set alone"
            )
        label_map, void_labels = results.get("label_map"), results.get("void_labels") or ()
        if not (reduce or label_map or void_labels):
            return None
        ignore = results.get("ignore_index", 255)
        key = (bool(reduce), tuple((label_map or {}).items()), tuple(void_labels), ignore)
        if key not in self._tables:
            table = np.arange(256)
            if reduce:
                table -= 1
                table[255] = 255
            renumbered = table.copy()
            for old, new in (label_map or {}).items():
                renumbered[table == old] = new
            if reduce:
                renumbered[0] = ignore
            renumbered[list(void_labels)] = ignore
            self._tables[key] = renumbered.astype(np.uint8)
        return self._tables[key]

    @staticmethod
    def any_beyond(labels: np.ndarray, results: Mapping[str, Any]) -> bool:
        """Whether a label is neither a class nor ignored; OpenCV looks at a map of two million pixels in 0.2 ms."""
        num_classes, ignore = results.get("num_classes"), results.get("ignore_index", 255)
        if num_classes is None or num_classes > 255:
            return False
        gaps = [(num_classes, ignore - 1), (ignore + 1, 255)] if ignore >= num_classes else [(num_classes, 255)]
        return any(low <= high and cv2.countNonZero(cv2.inRange(labels, low, high)) for low, high in gaps)

    @staticmethod
    def beyond(labels: np.ndarray, results: Mapping[str, Any]) -> np.ndarray:
        """Which labels are neither a class nor ignored; of their shape, bool. Slower than :meth:`any_beyond`."""
        num_classes, ignore = results.get("num_classes"), results.get("ignore_index", 255)
        return (labels >= (256 if num_classes is None else num_classes)) & (labels != ignore)

    @staticmethod
    def _refuse_labels(seg_map: np.ndarray, in_file: np.ndarray, results: Mapping[str, Any]) -> None:
        """Refuse labels that are no class; the message speaks of the values as they stand in the file."""
        num_classes, ignore = results["num_classes"], results.get("ignore_index", 255)
        beyond = LoadAnnotations.beyond(seg_map, results)
        if not beyond.any():
            return
        values = np.unique(in_file[beyond]).tolist()
        remedy = (
            f"If these values mean 'unlabelled', set void_labels={values} on the data set; if 0 is 'other' and "
            "classes start at 1, set reduce_zero_label=True; if there are more classes, name them in metainfo"
        )
        if len(values) > 8:
            remedy = (
                "So many values look like grey levels or instance ids and not like class numbers: convert the file "
                "to class numbers, or name all classes in metainfo"
            )
        raise DataError(
            f"label {str(results['seg_map_path'])!r} holds {shorten(values)} on {int(np.count_nonzero(beyond))} "
            f"pixels, but there are {num_classes} classes (0 to {num_classes - 1}) and ignore_index={ignore}. {remedy}"
        )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(reduce_zero_label={self.reduce_zero_label}, "
            f"imdecode_backend={self.imdecode_backend!r}, backend_args={self.backend_args})"
        )
