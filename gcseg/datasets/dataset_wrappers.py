"""Data sets made of other data sets. mmengine's, building their parts from gcseg's registry, and one of our own."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from mmengine import dataset as _mmengine

from gcseg.registry import DATASETS, TRANSFORMS
from gcseg.utils.errors import ConfigError


def _built(dataset: Any) -> Any:
    return DATASETS.build(dataset) if isinstance(dataset, dict) else dataset


def _itself(dataset: Any) -> Any:
    return dataset


def _part(dataset: Any) -> dict:
    # mmengine takes configs and instances of its BaseDataset, and a wrapper inside a wrapper is neither once built.
    return {"type": _itself, "dataset": _built(dataset)}


@DATASETS.register_module()
class ConcatDataset(_mmengine.ConcatDataset):
    """Several data sets one after the other; their metainfo must agree except for ``ignore_keys``.

    Args:
        datasets: data sets or their configs.
        lazy_init: look at the disk on first use.
        ignore_keys: keys of metainfo that may differ.
    """

    def __init__(
        self, datasets: Sequence[Any], lazy_init: bool = False, ignore_keys: str | list[str] | None = None
    ) -> None:
        if not datasets:
            raise ConfigError("ConcatDataset: datasets is empty; give at least one data set")
        built = [_built(dataset) for dataset in datasets]
        ignored = {ignore_keys} if isinstance(ignore_keys, str) else set(ignore_keys or ())
        first = built[0].metainfo
        for place, dataset in enumerate(built[1:], 1):
            theirs = dataset.metainfo
            for key in sorted((first.keys() | theirs.keys()) - ignored):
                if not np.array_equal(first.get(key), theirs.get(key)):
                    raise ConfigError(
                        f"ConcatDataset: {key} of datasets[{place}] is {theirs.get(key)!r} but that of datasets[0] is "
                        f"{first.get(key)!r}; the parts must agree. Give them the same metainfo, or put {key!r} into "
                        "ignore_keys if it may differ"
                    )
        super().__init__([_part(dataset) for dataset in built], lazy_init=lazy_init, ignore_keys=ignore_keys)


@DATASETS.register_module()
class RepeatDataset(_mmengine.RepeatDataset):
    """A data set that is ``times`` as long, so that an epoch of it is ``times`` epochs of the original.

    Args:
        dataset: a data set or its config.
        times: how often it is repeated.
        lazy_init: look at the disk on first use.
    """

    def __init__(self, dataset: Any, times: int, lazy_init: bool = False) -> None:
        super().__init__(_part(dataset), times=times, lazy_init=lazy_init)


@DATASETS.register_module()
class ClassBalancedDataset(_mmengine.ClassBalancedDataset):
    """Repeats images that show rare classes (Gupta et al. 2019, LVIS, appendix B.2).

    Every label file is read once when the data set is initialised.

    Args:
        dataset: a data set with ``get_cat_ids``, or its config.
        oversample_thr: classes on a smaller fraction of the images than this are repeated.
        lazy_init: look at the disk on first use.
    """

    def __init__(self, dataset: Any, oversample_thr: float, lazy_init: bool = False) -> None:
        super().__init__(_part(dataset), oversample_thr=oversample_thr, lazy_init=lazy_init)

    def _get_repeat_factors(self, dataset: Any, repeat_thr: float) -> list[float]:
        return super()._get_repeat_factors(_ReadOnce(dataset), repeat_thr)


class _ReadOnce:
    """A data set whose ``get_cat_ids`` reads each label file once, though it is asked several times."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self._present: dict[int, list[int]] = {}

    def __len__(self) -> int:
        return len(self._dataset)

    def get_cat_ids(self, idx: int) -> list[int]:
        if idx not in self._present:
            self._present[idx] = self._dataset.get_cat_ids(idx)
        return self._present[idx]


@DATASETS.register_module()
class MultiImageMixDataset:
    """A data set whose pipeline may mix several of its items, as ``RandomMosaic`` does.

    A transform with a method ``get_indices(dataset) -> int | Sequence[int]`` finds these items, already through the
    inner data set's own pipeline, as ``results['mix_results']``.

    Args:
        dataset: the inner data set or its config; its pipeline loads images and labels and does not pack them.
        pipeline: transforms or their configs.
        skip_type_keys: names of transforms to leave out; may be changed while training (``update_skip_type_keys``).
        lazy_init: look at the disk on first use.
    """

    def __init__(
        self,
        dataset: Any,
        pipeline: Iterable[Any],
        skip_type_keys: Sequence[str] | None = None,
        lazy_init: bool = False,
    ) -> None:
        self.dataset = _built(dataset)
        self.pipeline = [TRANSFORMS.build(step) if isinstance(step, dict) else step for step in pipeline]
        self.update_skip_type_keys(skip_type_keys)
        if not lazy_init:
            self.full_init()

    @property
    def metainfo(self) -> dict:
        """The inner data set's metainfo."""
        return copy.deepcopy(self.dataset.metainfo)

    def full_init(self) -> None:
        """Initialise the inner data set."""
        self.dataset.full_init()

    def get_data_info(self, idx: int) -> dict:
        """Item ``idx`` of the inner data set before any pipeline."""
        return self.dataset.get_data_info(idx)

    def update_skip_type_keys(self, skip_type_keys: Sequence[str] | None) -> None:
        """Leave out the transforms with these class names from now on; None leaves out none."""
        if isinstance(skip_type_keys, str):
            raise ConfigError(f"MultiImageMixDataset: skip_type_keys={skip_type_keys!r}; give a list of names")
        self._skip_type_keys = frozenset(skip_type_keys or ())

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, idx: int) -> dict:
        results = copy.deepcopy(self.dataset[idx])
        for transform in self.pipeline:
            if type(transform).__name__ in self._skip_type_keys:
                continue
            if hasattr(transform, "get_indices"):
                others = transform.get_indices(self.dataset)
                others = others if isinstance(others, Iterable) else [others]
                results["mix_results"] = [copy.deepcopy(self.dataset[int(other)]) for other in others]
            results = transform(results)
            results.pop("mix_results", None)
        return results


@DATASETS.register_module()
class FixedSamples:
    """The first samples of a data set, loaded once: what is random in the pipeline is drawn once and then stays.

    Args:
        dataset: a data set or its config.
        count: how many samples; fewer where the data set has fewer.
    """

    def __init__(self, dataset: Any, count: int) -> None:
        self.dataset = _built(dataset)
        self.metainfo = self.dataset.metainfo
        self._samples = [self.dataset[i] for i in range(min(count, len(self.dataset)))]

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Any:
        return copy.deepcopy(self._samples[index])
