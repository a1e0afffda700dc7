"""Which files a config uses, and for what."""

from __future__ import annotations

import os
import os.path as osp
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from mmengine.config import Config

from gcseg.analysis.data_check.facts import IMAGE, LABEL, Job, decodes_as
from gcseg.analysis.data_check.kinds import Finding
from gcseg.config import require
from gcseg.config_build import built_from
from gcseg.config_values import classes_of_heads, innermost_datasets, remedy_of_count
from gcseg.datasets import BaseSegDataset
from gcseg.datasets._files import contents, is_local, shorten, where_it_stops
from gcseg.datasets.transforms.loading import LoadAnnotations, LoadImageFromFile
from gcseg.utils.errors import ConfigError, DataError

SPLITS = ("train", "val", "test")


@dataclass
class Source:
    """A data set that reads files itself, inside whatever wraps it.

    Attributes:
        split: train, val or test.
        place: where it stands in the config.
        name: its class.
        dataset: itself; its files have not been looked for.
        pairs: paths of image and label of every item; None where there is no label, or where none is read.
        rules: an item of it, with what has to be known about labels.
        image_loader: reads the images.
        label_loader: reads the labels; None when the pipeline reads none.
        same_as: the split that has this data set already; then there is nothing more to look at.
    """

    split: str
    place: str
    name: str
    dataset: BaseSegDataset
    pairs: list[tuple[str, str | None]]
    rules: Mapping[str, Any]
    image_loader: LoadImageFromFile
    label_loader: LoadAnnotations | None
    same_as: str = ""
    table: np.ndarray = field(default_factory=lambda: np.arange(256, dtype=np.uint8))

    def __post_init__(self) -> None:
        table = self.label_loader.table(dict(self.rules)) if self.label_loader is not None else None
        if table is not None:
            self.table = table

    @property
    def classes(self) -> list[str]:
        """Names of the classes; empty when they are unknown."""
        return list(self.dataset.metainfo.get("classes") or ())

    @property
    def ignore_index(self) -> int:
        """The label that counts for nothing."""
        return int(self.rules.get("ignore_index", 255))

    def jobs(self) -> list[Job]:
        """All its files, each with what reads it."""
        found = []
        for image, label in self.pairs:
            found.append(Job(IMAGE, image, self.image_loader))
            if label is not None and self.label_loader is not None:
                found.append(Job(LABEL, label, self.label_loader))
        return found


def list_sources(cfg: Config, splits: Sequence[str] | None) -> tuple[list[Source], list[Finding]]:
    """All data sets of a config, and those that cannot be listed.

    Args:
        cfg: the config.
        splits: some of :data:`SPLITS`; None takes all that the config has.

    Raises:
        ConfigError: a split that is asked for is not there, or a data set cannot be built.
    """
    if splits is None:
        splits = [split for split in SPLITS if cfg.get(f"{split}_dataloader")]
        if not splits:
            require(cfg, ("train_dataloader",), "a check of its data")
    require(cfg, tuple(f"{split}_dataloader" for split in splits), "a check of that split")
    leaves = [(place.split("_dataloader")[0], place, node) for place, node in innermost_datasets(cfg)]
    sources: list[Source] = []
    findings: list[Finding] = []
    for split in splits:
        chosen = [(place, node) for owner, place, node in leaves if owner == split]
        if not chosen:
            raise ConfigError(f"{split}_dataloader.dataset: no data set; give dict(type='CityscapesDataset', ...)")
        for place, node in chosen:
            try:
                with built_from(cfg):
                    source = _source(split, place, node)
            except DataError as error:
                known = next((f for f in findings if f.message == str(error)), None)
                if known is None:
                    findings.append(Finding("data-set", [split], "", str(error)))
                elif split not in known.splits:
                    known.splits.append(split)
                continue
            source.same_as = next((s.split for s in sources if s.split != split and _alike(s, source)), "")
            sources.append(source)
    return sources, findings


def _source(split: str, place: str, node: dict) -> Source:
    from gcseg.registry import DATASETS

    options = {key: value for key, value in node.items() if key not in ("store", "skip_bad")}
    dataset = DATASETS.build({**options, "lazy_init": True})
    if not isinstance(dataset, BaseSegDataset):
        raise DataError(
            f"{place}: {type(dataset).__name__} is no BaseSegDataset, and the check knows no other; look at it with a "
            "loop over its items"
        )
    items = dataset.listed_items()
    if not items:
        raise DataError(f"{place}: {type(dataset).__name__} has no item; widen filter_cfg or indices")
    transforms = dataset.pipeline.transforms
    image_loader = next((t for t in transforms if isinstance(t, LoadImageFromFile)), None)
    label_loader = next((t for t in transforms if isinstance(t, LoadAnnotations)), None)
    return Source(
        split,
        place,
        type(dataset).__name__,
        dataset,
        [(item["img_path"], item.get("seg_map_path") if label_loader is not None else None) for item in items],
        items[0],
        image_loader or LoadImageFromFile(backend_args=dataset.backend_args),
        label_loader,
    )


def miscounted_classes(cfg: Config, sources: Sequence[Source]) -> list[Finding]:
    """Heads that do not have the classes of a data set, which may be in a file and unknown to the check of a config."""
    found = []
    for head, count in classes_of_heads(cfg).items():
        labels = max(count, 2)  # 1: foreground and background
        for other in sorted({len(source.classes) for source in sources} - {0, labels}):
            those = [source for source in sources if len(source.classes) == other]
            message = f"{head}.num_classes is {count} but {those[0].place}, {those[0].name}, has {other} classes"
            remedy = remedy_of_count(head, other)
            remedy = remedy[0].upper() + remedy[1:]
            found.append(Finding("class-count", list(dict.fromkeys(s.split for s in those)), "", message, remedy))
    return found


def _alike(a: Source, b: Source) -> bool:
    keys = ("num_classes", "ignore_index")
    return (
        a.pairs == b.pairs
        and [a.rules.get(k) for k in keys] == [b.rules.get(k) for k in keys]
        and repr((a.image_loader, a.label_loader)) == repr((b.image_loader, b.label_loader))
        and bool((a.table == b.table).all())
    )


def distinct_jobs(sources: Sequence[Source]) -> list[Job]:
    """All files of all data sets, each once for each way of reading it."""
    found: dict[tuple, Job] = {}
    for source in sources:
        if not source.same_as:
            for job in source.jobs():
                found.setdefault(decodes_as(job), job)
    return list(found.values())


class Neighbours:
    """What lies beside a file that is not there."""

    def __init__(self) -> None:
        self._listings: dict[str, list[str]] = {}

    def hint(self, path: str, suffixes: Sequence[str], option: str) -> str:
        """What to do about a missing file, from the names in its folder; "" when they say nothing.

        Args:
            path: of the file that does not exist.
            suffixes: how the data set lets such names end.
            option: of the data set that holds these endings.
        """
        folder, name = osp.split(path)
        if not is_local(path):
            return ""
        if folder not in self._listings:
            self._listings[folder] = sorted(os.listdir(folder)) if osp.isdir(folder) else []
        names = self._listings[folder]
        if not osp.isdir(folder):
            return f"Set data_root or data_prefix of the data set: {where_it_stops(folder)}"
        suffix = max((s for s in suffixes if name.endswith(s)), key=len, default=osp.splitext(name)[1])
        stem = name[: len(name) - len(suffix)]
        if stem in names:
            return f"The list (ann_file) has names with their suffix: {stem!r} is there. Take the suffix off each line"
        same = [other for other in names if other.lower() == name.lower()]
        if same:
            return f"{same[0]!r} is there: capitals count in file names"
        others = [other for other in names if other.startswith(stem) and other[len(stem) : len(stem) + 1] in "._-"]
        if others:
            endings = shorten([other[len(stem) :] for other in others], 4)
            return f"Of that name there is {shorten(others, 4)}: rename it, or if all end so set {option} ({endings})"
        if not any(other.endswith(tuple(suffixes)) for other in names):
            now = f"{option} (now {shorten(suffixes, 4)})"
            return f"Set data_prefix or {now} of the data set: the folder {contents(folder)}"
        return ""


def spare_labels(sources: Sequence[Source]) -> list[Finding]:
    """Label files that belong to no image, in folders whose data set takes all files."""
    used = {osp.abspath(label) for source in sources for _, label in source.pairs if label is not None}
    found = []
    seen: set[str] = set()
    for source in sources:
        dataset = source.dataset
        folder = dataset.data_prefix.get("seg_map_path")
        chosen = dataset.ann_file or dataset.filter_cfg or dataset._indices is not None
        if source.label_loader is None or chosen or not folder or folder in seen or not osp.isdir(folder):
            continue
        seen.add(folder)
        for parent, _, names in os.walk(folder):
            for name in sorted(names):
                path = osp.join(parent, name)
                if name.endswith(dataset.seg_map_suffix) and osp.abspath(path) not in used:
                    found.append(Finding("spare-label", [source.split], path, f"label {path!r} belongs to no image"))
    return found
