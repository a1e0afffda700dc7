"""The data set that all others extend: pairs of an image and an index map of its classes."""

from __future__ import annotations

import copy
import os
import os.path as osp
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from mmengine import fileio
from mmengine.dataset import BaseDataset

from gcseg.datasets._files import contents, is_local, list_files, shorten, where_it_stops
from gcseg.datasets._skipping import BadFiles
from gcseg.datasets.store import attach_store, store_folder
from gcseg.datasets.transforms.fusion import FusedCompose
from gcseg.registry import DATASETS, TRANSFORMS
from gcseg.utils.errors import ConfigError, DataError
from gcseg.utils.names import unknown_name_message
from gcseg.utils.signatures import shortened


@DATASETS.register_module()
class BaseSegDataset(BaseDataset):
    """Images in one folder, index maps with the same names in another.

    Without ``ann_file`` every file below ``data_prefix['img_path']`` that ends in ``img_suffix`` is an image, and its
    label is the file of the same relative path below ``data_prefix['seg_map_path']`` with ``seg_map_suffix`` in place
    of ``img_suffix``; images are sorted by path. With ``ann_file``, a text file, each line is such a path without
    suffix, and the order is the file's.

    An item is a dict with ``img_path``, ``seg_map_path`` (when there are labels), ``sample_idx``, ``label_map``,
    ``reduce_zero_label``, ``void_labels``, ``ignore_index``, ``num_classes`` (None when classes are unknown) and an
    empty list ``seg_fields``, passed through the pipeline. Wrong folders, lists and missing labels are reported when
    the data set is built and not after hours of training; errors in a single file as soon as the file is read.

    Args:
        ann_file: list of the images to use, relative to ``data_root``; ``''`` uses all.
        img_suffix: ending of the image files, or several endings.
        seg_map_suffix: ending of the label files.
        metainfo: ``classes`` and ``palette`` in place of the class attribute ``METAINFO``. Classes that are some of
            ``METAINFO``'s, in any order, renumber the labels; the others become ``ignore_index``.
        data_root: folder to which ``ann_file`` and ``data_prefix`` are relative.
        data_prefix: folders ``img_path`` and ``seg_map_path``; leave the latter out when there are no labels.
        filter_cfg: for classes that override ``filter_data``.
        indices: use the first (or, negative, last) so many items, or those listed.
        serialize_data: keep the list as one array that the workers of a data loader share.
        pipeline: transforms, or their configs.
        test_mode: for evaluation; then a pipeline may not return None.
        lazy_init: look at the disk on first use and not now.
        max_refetch: in training, how often another item is drawn when the pipeline returns None.
        ignore_index: label that is not trained on and not evaluated, 0 to 255.
        reduce_zero_label: label 0 of the files becomes ``ignore_index`` and the others go down by one.
        backend_args: file backend of mmengine, for files that are not on a disk.
        void_labels: values in the label files that mean "unlabelled"; they become ``ignore_index``.
        store: folder of a decoded store that ``gcseg store`` wrote, to read pixels from in place of the files; True is
            the folder ``decoded_store`` in ``data_root``. The items are the same.
        skip_bad: how many samples with bad files training may leave out, in each process that reads; 0 stops at the
            first. In place of a bad sample comes the next one in the list that is good, and a warning names the file.
            Not for evaluation, which has to count every image.
    """

    METAINFO: dict = dict()
    _fully_initialized: bool = False

    def __init__(
        self,
        ann_file: str = "",
        img_suffix: str | Sequence[str] = ".jpg",
        seg_map_suffix: str = ".png",
        metainfo: Mapping | None = None,
        data_root: str | None = None,
        data_prefix: Mapping[str, str | None] | None = None,
        filter_cfg: dict | None = None,
        indices: int | Sequence[int] | None = None,
        serialize_data: bool = True,
        pipeline: Sequence[dict | Callable] = (),
        test_mode: bool = False,
        lazy_init: bool = False,
        max_refetch: int = 1000,
        ignore_index: int = 255,
        reduce_zero_label: bool = False,
        backend_args: dict | None = None,
        void_labels: Sequence[int] = (),
        store: str | bool | None = None,
        skip_bad: int = 0,
    ) -> None:
        name = type(self).__name__
        if not 0 <= ignore_index <= 255:
            raise ConfigError(
                f"{name}: ignore_index={ignore_index}; labels are stored as bytes, use 0 to 255 (255 is customary)"
            )
        if isinstance(void_labels, int) or not all(isinstance(v, int) and 0 <= v <= 255 for v in void_labels):
            raise ConfigError(
                f"{name}: void_labels={void_labels!r}; give a list of integers from 0 to 255, such as [11]"
            )
        self.bad_files = BadFiles(skip_bad, name)
        if skip_bad and test_mode:
            raise ConfigError(
                f"{name}: skip_bad={skip_bad} with test_mode=True: scores must count every image, so an evaluation "
                "leaves out none. Take skip_bad out of this data set; `gcseg check CONFIG` names the files to mend"
            )
        self.img_suffix = img_suffix
        self.seg_map_suffix = seg_map_suffix
        self.ignore_index = ignore_index
        self.reduce_zero_label = reduce_zero_label
        self.void_labels = tuple(void_labels)
        self.backend_args = dict(backend_args) if backend_args else None
        self.data_root = data_root = data_root and osp.expanduser(data_root)
        self.store = store_folder(store, data_root, name) if store else None
        prefix = {"img_path": "", "seg_map_path": ""} if data_prefix is None else data_prefix
        self.data_prefix = {key: folder for key, folder in prefix.items() if folder is not None}
        self.ann_file = ann_file
        self.filter_cfg = copy.deepcopy(filter_cfg)
        if filter_cfg and type(self).filter_data is BaseDataset.filter_data:
            warnings.warn(f"{name} has no filter_data method: filter_cfg={filter_cfg} does nothing", stacklevel=2)
        self._indices = indices
        self.serialize_data = serialize_data
        self.test_mode = test_mode
        self.max_refetch = max_refetch
        self.data_list: list[dict] = []
        self.data_bytes: np.ndarray

        self._given_palette = metainfo is not None and "palette" in metainfo
        self._metainfo = self._load_metainfo(copy.deepcopy(metainfo))
        classes = self._metainfo.get("classes")
        if isinstance(classes, str):
            raise ConfigError(
                f"{name}: metainfo classes={classes!r} is one word; give a list of class names, or the path of a text "
                "file with one name a line (no file of that name exists)"
            )
        if classes is None and test_mode:
            raise ConfigError(f"{name}: evaluation needs class names; add metainfo=dict(classes=[...]) to the data set")
        self.label_map = self.get_label_map(classes)
        if self.label_map is not None and ignore_index != 255:
            self.label_map = {old: ignore_index if new == 255 else new for old, new in self.label_map.items()}
        self._metainfo.update(label_map=self.label_map, reduce_zero_label=reduce_zero_label)
        self._metainfo["palette"] = self._update_palette()

        if self.data_root is not None:
            self._join_prefix()
        self.pipeline = FusedCompose([TRANSFORMS.build(step) if isinstance(step, dict) else step for step in pipeline])
        if not lazy_init:
            self.full_init()

    @classmethod
    def get_label_map(cls, new_classes: Sequence[str] | None = None) -> dict[int, int] | None:
        """How labels are renumbered when other classes are asked for than ``METAINFO`` has.

        Args:
            new_classes: some of the classes of ``METAINFO``, in the wanted order.

        Returns:
            Old label to new label, 255 for classes that are left out; None when nothing changes.

        Raises:
            ConfigError: a class that ``METAINFO`` does not have, or one that is there twice.
        """
        old_classes = cls.METAINFO.get("classes")
        if new_classes is None or old_classes is None or list(new_classes) == list(old_classes):
            return None
        new_label = {name: label for label, name in enumerate(new_classes)}
        for name in new_label:
            if name not in old_classes:
                what = f"class of {cls.__name__} in metainfo"
                remedy = "For other classes than these, use BaseSegDataset with metainfo=dict(classes=...)."
                raise ConfigError(unknown_name_message(what, str(name), old_classes, remedy))
        if len(new_label) != len(new_classes):
            twice = sorted({name for name in new_classes if list(new_classes).count(name) > 1})
            raise ConfigError(f"{cls.__name__}: metainfo classes has {shorten(twice)} twice; name each class once")
        return {old: new_label.get(name, 255) for old, name in enumerate(old_classes)}

    def _update_palette(self) -> list:
        """One colour per class: the given one, ``METAINFO``'s put in the order of the classes, or drawn by lot."""
        palette = self._metainfo.get("palette") or []
        classes = self._metainfo.get("classes") or []
        if not len(palette):
            return np.random.RandomState(42).randint(0, 255, size=(len(classes), 3)).tolist()
        given_for_classes = self._given_palette and len(palette) == len(classes)
        if self.label_map is not None and len(palette) == len(self.label_map) and not given_for_classes:
            old_classes = list(self.METAINFO["classes"])
            return [palette[old_classes.index(name)] for name in classes]
        if len(palette) != len(classes):
            raise ConfigError(
                f"{type(self).__name__}: metainfo has {len(classes)} classes but {len(palette)} colours in palette; "
                "give one RGB colour per class, or leave palette out"
            )
        return palette

    def full_init(self) -> None:
        """Read the list of items, filter it, take the subset, check that the files are there; once."""
        if self._fully_initialized:
            return
        self._load_items()
        if not self.data_list:
            raise DataError(
                f"{type(self).__name__}: no item is left after filter_cfg={self.filter_cfg} and "
                f"indices={self._indices}; widen them"
            )
        self._check_files()
        if self.store is not None:
            attach_store(
                self.data_list, self._files_read(), self.store, self.data_root, type(self).__name__, self.backend_args
            )
        if self.serialize_data:
            self.data_bytes, self.data_address = self._serialize_data()
        self._fully_initialized = True

    def _load_items(self) -> None:
        self.data_list = self.load_data_list()
        self.data_list = self.filter_data()
        if self._indices is not None:
            self.data_list = self._get_unserialized_subset(self._indices)

    def listed_items(self) -> list[dict]:
        """All items as :meth:`get_data_info` gives them, whether or not their files exist; reads the list again.

        Raises:
            DataError: a folder or the list does not exist or is empty.
        """
        self._load_items()
        items = [self._with_rules({**info, "sample_idx": index}) for index, info in enumerate(self.data_list)]
        self._fully_initialized = False
        return items

    def load_data_list(self) -> list[dict]:
        """Paths of all images and labels.

        Returns:
            Dicts with ``img_path`` and, when ``data_prefix`` has ``seg_map_path``, ``seg_map_path``.

        Raises:
            DataError: a folder or the list does not exist or is empty.
        """
        img_dir = self.data_prefix.get("img_path")
        if img_dir is None:
            raise DataError(f"{type(self).__name__}: data_prefix has no img_path, the folder of the images")
        ann_dir = self.data_prefix.get("seg_map_path")
        if is_local(img_dir, self.backend_args) and not osp.isdir(img_dir):
            raise self._missing("the folder of the images", img_dir)
        pairs = self._listed_names(img_dir) if self.ann_file else self._found_names(img_dir)
        data_list = []
        for image, stem in pairs:
            info = {"img_path": osp.join(img_dir, image)}
            if ann_dir is not None:
                info["seg_map_path"] = osp.join(ann_dir, stem + self.seg_map_suffix)
            data_list.append(info)
        if not self.ann_file:
            data_list.sort(key=lambda info: info["img_path"])
        return data_list

    def get_data_info(self, idx: int) -> dict:
        """The item before the pipeline; see the class for its keys."""
        return self._with_rules(super().get_data_info(idx))

    def _with_rules(self, info: dict) -> dict:
        """An item with what the pipeline has to know about labels."""
        classes = self._metainfo.get("classes")
        info.setdefault("label_map", self.label_map)
        info.setdefault("reduce_zero_label", self.reduce_zero_label)
        info.setdefault("void_labels", self.void_labels)
        info.setdefault("ignore_index", self.ignore_index)
        info.setdefault("num_classes", None if classes is None else len(classes))
        info.setdefault("seg_fields", [])
        return info

    def __getitem__(self, idx: int) -> dict:
        """Item ``idx`` after the pipeline; with ``skip_bad``, the next good one in the list where its files are bad."""
        if not self.bad_files.allowed:
            return super().__getitem__(idx)
        # A bad file is read again each time that it is met: which item comes, and how many random numbers are drawn on
        # the way, then depends on the index alone, and not on what this process has met before.
        for place in range(idx, idx + len(self)):
            try:
                return super().__getitem__(place % len(self))
            except DataError as error:
                self.bad_files.add(self.get_data_info(place % len(self))["img_path"], error)
        raise self.bad_files.too_many()

    def get_cat_ids(self, idx: int) -> list[int]:
        """Classes present in the label of one item, ascending; reads the label file. Used by ClassBalancedDataset."""
        from gcseg.datasets.transforms.loading import LoadAnnotations

        of_pipeline = [t for t in self.pipeline.transforms if isinstance(t, LoadAnnotations)]
        load = of_pipeline[0] if of_pipeline else LoadAnnotations(backend_args=self.backend_args)
        try:
            info = load(self.get_data_info(idx))
        except DataError as error:
            if not self.bad_files.allowed:
                raise
            self.bad_files.add(self.get_data_info(idx)["img_path"], error)
            return []
        present = np.flatnonzero(np.bincount(info["gt_seg_map"].ravel(), minlength=256))
        return [int(label) for label in present if label != info["ignore_index"]]

    def _suffixes(self) -> tuple[str, ...]:
        return (self.img_suffix,) if isinstance(self.img_suffix, str) else tuple(self.img_suffix)

    def _found_names(self, img_dir: str) -> list[tuple[str, str]]:
        """(file name, name without suffix) of every image below ``img_dir``."""
        suffixes = self._suffixes()
        pairs = []
        for name in list_files(img_dir, suffixes, self.backend_args):
            suffix = max((s for s in suffixes if name.endswith(s)), key=len)
            pairs.append((name, name[: len(name) - len(suffix)]))
        if not pairs:
            detail = f"; it {contents(img_dir)}" if is_local(img_dir, self.backend_args) else ""
            raise DataError(
                f"{type(self).__name__}: no file in {img_dir!r} or below ends in {' or '.join(map(repr, suffixes))}"
                f"{detail}. Put the images there, or set data_root, data_prefix.img_path or img_suffix of the data set"
            )
        return pairs

    def _listed_names(self, img_dir: str) -> list[tuple[str, str]]:
        """(file name, name without suffix) of every line of ``ann_file``."""
        local = is_local(self.ann_file, self.backend_args)
        if local and not osp.isfile(self.ann_file):
            raise self._missing("the list of images (ann_file)", self.ann_file)
        try:
            text = fileio.get_text(self.ann_file, backend_args=self.backend_args)
        except UnicodeDecodeError as error:
            raise DataError(
                f"{type(self).__name__}: the list of images (ann_file) {self.ann_file!r} is no UTF-8 text ({error}); "
                "write one image name without suffix on each line"
            ) from error
        stems = [line.strip() for line in text.removeprefix("\ufeff").splitlines() if line.strip()]
        if not stems:
            raise DataError(
                f"{type(self).__name__}: the list of images (ann_file) {self.ann_file!r} is empty; write one image "
                "name without suffix on each line"
            )
        again = sorted({stem for stem, times in Counter(stems).items() if times > 1})
        if again:
            warnings.warn(
                f"{type(self).__name__}: the list of images (ann_file) {self.ann_file!r} names {shorten(again, 2)} "
                "more than once; such images are trained on, or counted, as often",
                stacklevel=2,
            )
        first, *others = self._suffixes()
        if not others:
            return [(stem + first, stem) for stem in stems]
        return [
            (next((stem + s for s in (first, *others) if osp.exists(osp.join(img_dir, stem + s))), stem + first), stem)
            for stem in stems
        ]

    def _missing(self, what: str, path: str) -> DataError:
        return DataError(
            f"{type(self).__name__}: {what} {path!r} does not exist; {where_it_stops(path)}. Set data_root (now "
            f"{self.data_root!r}), data_prefix or ann_file of the data set to where the files are"
        )

    def _files_read(self) -> list[str]:
        """Keys of the files that the pipeline reads, as far as it can be seen from its transforms."""
        labels = any(type(t).__name__ == "LoadAnnotations" for t in self.pipeline.transforms)
        return ["img_path", "seg_map_path"] if labels else ["img_path"]

    def _check_files(self) -> None:
        """See that what the pipeline will read exists; one directory listing per folder, no file is opened."""
        for key in self._files_read():
            if key == "img_path" and not self.ann_file:  # then the images are those that were found
                continue
            listings: dict[str, Any] = {}
            missing = []
            for info in self.data_list:
                path = info.get(key)
                if path is None or not is_local(path, self.backend_args):
                    continue
                folder, name = osp.split(path)
                if folder not in listings:
                    listings[folder] = frozenset(os.listdir(folder)) if osp.isdir(folder) else frozenset()
                if name not in listings[folder]:
                    missing.append(path)
            if len(missing) > self.bad_files.allowed:  # fewer are left out when they are met
                what, option = ("image", "img_suffix") if key == "img_path" else ("label", "seg_map_suffix")
                folder = osp.dirname(missing[0])
                found = f"{folder!r} {contents(folder)}" if osp.isdir(folder) else where_it_stops(folder)
                mend = f", or mend the list {self.ann_file!r}" if self.ann_file else ""
                raise DataError(
                    f"{type(self).__name__}: {len(missing)} of {len(self.data_list)} {what} files do not exist, the "
                    f"first is {shortened(missing[0], 500)}; {found}. Set data_root, data_prefix.{key} or {option} "
                    f"(now {getattr(self, option)!r}) of the data set, or add the files{mend}"
                )
