"""A plain folder of images and labels, without a class of its own."""

from __future__ import annotations

import os
import os.path as osp
from collections.abc import Mapping, Sequence
from typing import Any

from gcseg.datasets._files import contents, is_local, list_files, shorten, where_it_stops
from gcseg.datasets.basesegdataset import BaseSegDataset
from gcseg.registry import DATASETS
from gcseg.utils.errors import ConfigError, DataError
from gcseg.utils.names import nearest
from gcseg.utils.signatures import shortened

_IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
_LABEL_ENDINGS = (".png", ".bmp", ".tif", ".tiff")
IMAGE_SUFFIXES = (*_IMAGE_ENDINGS, *(s.upper() for s in _IMAGE_ENDINGS))
LABEL_SUFFIXES = (*_LABEL_ENDINGS, *(s.upper() for s in _LABEL_ENDINGS))
IMAGE_FOLDERS = ("images", "image", "imgs", "img")
LABEL_FOLDERS = ("labels", "label", "annotations", "masks", "mask")
SEPARATORS = "_-."


@DATASETS.register_module()
class FolderDataset(BaseSegDataset):
    """Images in one folder, label maps in another, paired by name.

    Folders are ``data_root/images/SPLIT`` and ``data_root/labels/SPLIT`` (or ``SPLIT/images``, and ``imgs``,
    ``annotations``, ``masks`` and the like), unless ``data_prefix`` names them. A label has the relative path of its
    image with any of ``seg_map_suffix``; where all images, or all labels, carry one more word at the end of their names
    (``0001_rgb.jpg`` and ``0001_mask.png``), that word is passed over.

    Args:
        data_root: folder of everything.
        split: ``"train"``, ``"val"`` or any other name of a sub-folder; ``""`` when there is none.
        classes: names in the order of their labels, or a text file with one name a line, relative to ``data_root``;
            None takes ``metainfo['classes']``, or else ``data_root/classes.txt``. Lines that begin with # are comments.
        img_suffix: endings that are images.
        seg_map_suffix: endings that are labels.
        data_prefix: ``img_path`` and ``seg_map_path`` in place of the folders above; leave ``seg_map_path`` out when
            there are no labels.
        ann_file: list of names without suffix, one a line, to use some of the images.
        metainfo: ``classes`` and ``palette``.
        **kwargs: those of :class:`BaseSegDataset`, such as ``pipeline`` and ``void_labels``.

    Raises:
        DataError: a folder that does not exist or is empty, images without a label, two images of one name.
        ConfigError: no class names.
    """

    _number_missing = 0  # of labels, when the list was last read
    _why_missing = ""

    def __init__(
        self,
        data_root: str | None = None,
        split: str = "train",
        classes: Sequence[str] | str | None = None,
        img_suffix: str | Sequence[str] = IMAGE_SUFFIXES,
        seg_map_suffix: str | Sequence[str] = LABEL_SUFFIXES,
        data_prefix: Mapping[str, str | None] | None = None,
        ann_file: str = "",
        metainfo: Mapping | None = None,
        **kwargs: Any,
    ) -> None:
        self.split = split
        data_root = data_root and osp.expanduser(data_root)
        root = data_root or ""
        if data_prefix is None:
            data_prefix = {
                "img_path": _find(root, split, IMAGE_FOLDERS, "images", "img_path"),
                "seg_map_path": _find(root, split, LABEL_FOLDERS, "labels", "seg_map_path"),
            }
        meta = dict(metainfo or {})
        if classes is not None and meta.get("classes") is not None:
            raise ConfigError("FolderDataset: classes and metainfo['classes'] are both given; give one of them")
        meta["classes"] = _class_names(root, classes if classes is not None else meta.get("classes"))
        self._label_suffixes = (seg_map_suffix,) if isinstance(seg_map_suffix, str) else tuple(seg_map_suffix)
        super().__init__(
            ann_file=ann_file,
            img_suffix=img_suffix,
            seg_map_suffix=self._label_suffixes[0],
            metainfo=meta,
            data_root=data_root,
            data_prefix=data_prefix,
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """Pairs of ``img_path`` and ``seg_map_path``, sorted by path, or in the order of ``ann_file``."""
        img_dir, ann_dir = self.data_prefix.get("img_path"), self.data_prefix.get("seg_map_path")
        if img_dir is None:
            raise DataError("FolderDataset: data_prefix has no img_path, the folder of the images")
        for what, folder in (("the folder of the images", img_dir), ("the folder of the labels", ann_dir)):
            if folder is not None and is_local(folder, self.backend_args) and not osp.isdir(folder):
                raise self._missing(what, folder)
        same = ann_dir is not None and osp.normpath(img_dir) == osp.normpath(ann_dir)
        if same and set(self._suffixes()) & set(self._label_suffixes):
            raise ConfigError(
                f"FolderDataset: images and labels are both in {img_dir!r}; tell them apart with img_suffix and "
                "seg_map_suffix, such as '.jpg' and '.png'"
            )
        listed = self._listed_names(img_dir) if self.ann_file else sorted(self._found_names(img_dir))
        images: dict[str, str] = {}
        for file, stem in listed:
            if stem in images:
                raise DataError(
                    f"FolderDataset: {images[stem]!r} and {file!r} in {img_dir!r} have one name, so one label would "
                    "serve two images; rename one, or set img_suffix to the ending of the images"
                )
            images[stem] = file
        self._number_missing = 0
        if ann_dir is None:
            return [{"img_path": osp.join(img_dir, file)} for file in images.values()]
        labels = self._found_labels(ann_dir)
        pairs = match_names(list(images), list(labels))
        missing = [stem for stem in images if stem not in pairs]
        self._number_missing = len(missing)
        if missing:
            close = nearest(missing[0], labels)
            hint = f"the nearest names there are {shorten(labels[c] for c in close)}" if close else contents(ann_dir)
            self._why_missing = (
                f"FolderDataset: {len(missing)} of {len(images)} images in {img_dir!r} have no label in {ann_dir!r}, "
                f"the first is {images[missing[0]]!r}; {hint}. Give the label the image's name with one of the endings "
                f"{shorten(self._label_suffixes, 4)}, list the images to use in ann_file, or set seg_map_suffix"
            )
        return [
            {
                "img_path": osp.join(img_dir, file),
                "seg_map_path": osp.join(
                    ann_dir, labels[pairs[stem]] if stem in pairs else stem + self._label_suffixes[0]
                ),
            }
            for stem, file in images.items()
        ]

    def _check_files(self) -> None:
        if self._number_missing > self.bad_files.allowed:
            raise DataError(self._why_missing)
        super()._check_files()

    def _found_labels(self, ann_dir: str) -> dict[str, str]:
        """Name without suffix to file name, of every label below ``ann_dir``."""
        found: dict[str, str] = {}
        for file in sorted(list_files(ann_dir, self._label_suffixes, self.backend_args)):
            suffix = max((s for s in self._label_suffixes if file.endswith(s)), key=len)
            other = found.setdefault(file[: -len(suffix)], file)
            if other != file:
                raise DataError(
                    f"FolderDataset: {other!r} and {file!r} in {ann_dir!r} have one name, and either could be the "
                    "label of an image; remove one, or set seg_map_suffix to the ending of the labels"
                )
        if not found:
            raise DataError(
                f"FolderDataset: no file in {ann_dir!r} or below ends in {shorten(self._label_suffixes)}; it "
                f"{contents(ann_dir)}. Labels are one-channel images of class indices"
            )
        return found


def match_names(images: Sequence[str], labels: Sequence[str]) -> dict[str, str]:
    """Pair image names with label names, all without file suffix.

    Equal names are a pair. Where that does not serve all images, a last word that all image names share, or all label
    names, or both, is passed over; a word begins at ``_``, ``-`` or ``.``. The way that pairs most images is taken,
    the plainest among equals.

    Returns:
        Image name to label name, for the images that have one.
    """
    best: dict[str, str] = {}
    for image_tail, label_tail in (
        ("", ""),
        ("", _shared_tail(labels)),
        (_shared_tail(images), ""),
        (_shared_tail(images), _shared_tail(labels)),
    ):
        by_key = {name[: len(name) - len(label_tail)]: name for name in labels}
        keys = {name: name[: len(name) - len(image_tail)] for name in images}
        pairs = {name: by_key[key] for name, key in keys.items() if key in by_key}
        if len(pairs) > len(best):
            best = pairs
    return best


def _shared_tail(names: Sequence[str]) -> str:
    """The longest run of words at the end of all names, with its separator; '' when there is none."""
    shared = names[0] if names else ""
    for name in names:
        while not name.endswith(shared):
            shared = shared[1:]
    starts = [place for place, letter in enumerate(shared) if letter in SEPARATORS]
    tails = [shared[place:] for place in starts if os.sep not in shared[place:] and "/" not in shared[place:]]
    if tails and all(len(name) > len(tails[0]) for name in names):
        return tails[0]
    return tails[1] if len(tails) > 1 else ""


def _find(root: str, split: str, names: Sequence[str], what: str, key: str) -> str:
    """The sub-folder of ``root`` for images or labels, relative to it."""
    if not is_local(root):
        return osp.join(names[0], split)
    tried = [place for name in names for place in (osp.join(name, split), osp.join(split, name))]
    for place in tried:
        if osp.isdir(osp.join(root, place)):
            return osp.normpath(place)
    if not osp.isdir(root or "."):
        found = f"data_root {root!r} does not exist; {where_it_stops(root)}"
    else:
        found = f"data_root {root!r} {contents(root or '.')}"
    raise DataError(
        f"FolderDataset: no folder with {what} of split {split!r}: {found}. Looked for {shorten(tried, 4)}; make one "
        f"of them, or set data_root (in the recipes by the environment variable GCSEG_FOLDER), split or "
        f"data_prefix.{key}"
    )


def _class_names(root: str, classes: Any) -> list[str]:
    """Class names from a list, from a text file, or from ``classes.txt`` in ``root``."""
    if classes is not None and not isinstance(classes, str):
        return list(classes)
    file = "classes.txt" if classes is None else classes
    path = osp.join(root, file)
    if not osp.isfile(path) and classes is not None and osp.isfile(classes):
        path = classes
    if not osp.isfile(path):
        received = "no classes given, and" if classes is None else f"classes={classes!r}, but"
        raise ConfigError(
            f"FolderDataset: {received} the file {path!r} does not exist; write one class name a line into it, in the "
            "order of the label values, or give classes=['road', ...]"
        )
    try:
        with open(path, encoding="utf-8-sig") as lines:
            names = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    except UnicodeDecodeError as error:
        raise ConfigError(f"FolderDataset: {path!r} is no UTF-8 text ({error}); write one class name a line") from error
    if not names:
        raise ConfigError(f"FolderDataset: {path!r} has no class name; write one a line, in the order of the labels")
    bad = [name for name in names if not name.isprintable() or names.count(name) > 1]
    if bad:
        raise ConfigError(
            f"FolderDataset: {path!r} has the class name {shortened(bad[0])}, which is there twice or is no text; "
            "write one name a line, each once"
        )
    return names
