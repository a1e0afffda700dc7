"""The labels of a config's data sets, as training and testing see them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from gcseg.config import load_config
from gcseg.config_build import built_from
from gcseg.config_values import innermost_datasets
from gcseg.utils.errors import ConfigError

if TYPE_CHECKING:
    from mmengine.config import Config


def build_datasets(
    config: str | os.PathLike | Config, split: str, cfg_options: dict[str, Any] | None = None
) -> list[Any]:
    """The data sets of a split; wrappers that repeat or join are looked through.

    Args:
        config: a path, the name of a packaged recipe, or a ``Config``.
        split: train, val or test.
        cfg_options: overrides with dotted keys.

    Raises:
        ConfigError: the config has no such split.
        DataError: files are missing.
    """
    from mmengine.registry import DefaultScope

    from gcseg.registry import DATASETS, SCOPE

    cfg = load_config(config, cfg_options)
    found = [node for _, node in innermost_datasets(cfg, (f"{split}_dataloader",))]
    if not found:
        raise ConfigError(f"{cfg.filename or 'the config'}: no data set in {split}_dataloader")
    with DefaultScope.overwrite_default_scope(SCOPE), built_from(cfg):
        datasets = [DATASETS.build(node) for node in found]
        for dataset in datasets:
            dataset.full_init()
    return datasets


class LabelReader:
    """Reads labels at the size of their files, renumbered as the data set says, without the rest of the pipeline.

    Args:
        dataset: from :func:`build_datasets`.
    """

    def __init__(self, dataset: Any) -> None:
        from gcseg.datasets.transforms import LoadAnnotations

        self.dataset = dataset
        of_pipeline = [t for t in dataset.pipeline.transforms if isinstance(t, LoadAnnotations)]
        self._load = of_pipeline[0] if of_pipeline else LoadAnnotations(backend_args=dataset.backend_args)

    def __call__(self, index: int) -> dict[str, Any]:
        """The item ``index`` with ``gt_seg_map`` (H, W) uint8, ``img_path``, ``seg_map_path`` and ``ignore_index``.

        Raises:
            ConfigError: the data set has no labels.
            DataError: the label cannot be read, or has a value that is no class.
        """
        info = self.dataset.get_data_info(index)
        if not info.get("seg_map_path"):
            raise ConfigError(f"{type(self.dataset).__name__}: no labels; give data_prefix.seg_map_path")
        return self._load(info)


def class_counts(dataset: Any, threads: int = 4) -> Iterator[np.ndarray]:
    """Labelled pixels of each class in each image, (C,) int64, in the order of the data set.

    Args:
        dataset: from :func:`build_datasets`, with class names.
        threads: files that are read at once.

    Raises:
        ConfigError, DataError: see :class:`LabelReader`.
    """
    from concurrent.futures import ThreadPoolExecutor

    read, classes = LabelReader(dataset), len(dataset.metainfo["classes"])

    def count(index: int) -> np.ndarray:
        item = read(index)
        counts = np.bincount(item["gt_seg_map"].ravel(), minlength=256)
        counts[item["ignore_index"]] = 0
        return counts[:classes]

    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(dataset), 64):  # not all at once, so that an error ends it soon
            yield from pool.map(count, range(start, min(start + 64, len(dataset))))
