"""The command ``gcseg store``: decode the images and labels of a config once, for all runs to come."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gcseg.config import load_config, require
from gcseg.config_values import innermost_datasets, option_of
from gcseg.utils.errors import ConfigError

if TYPE_CHECKING:
    from gcseg.datasets import BaseSegDataset
    from gcseg.datasets.converters.store import StoreReport

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class DecodedStores:
    """What :func:`write_store` wrote.

    Attributes:
        folders: folder of a store -> what is in it.
        options: those that make a run read them, with dotted keys: for ``--cfg-options``, or for ``cfg_options``.
    """

    folders: dict[str, StoreReport]
    options: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        return {
            "folders": {folder: report._asdict() for folder, report in self.folders.items()},
            "options": self.options,
        }

    def __str__(self) -> str:
        from gcseg.datasets.converters.store import readable

        lines = [f"{folder}: {r.written + r.kept} files, {readable(r.size)}" for folder, r in self.folders.items()]
        options = " ".join(shlex.quote(f"{key}={value}") for key, value in self.options.items())
        return "\n".join([*lines, "read it with", f"  --cfg-options {options}"])


def write_store(
    config: Any,
    out: str | os.PathLike | None = None,
    splits: Sequence[str] = ("train",),
    cfg_options: dict[str, Any] | None = None,
    threads: int | None = None,
) -> DecodedStores:
    """Decode the data sets of a config into a decoded store.

    Args:
        config: a path, the name of a packaged recipe, or a ``Config``.
        out: folder of the store; the folder ``decoded_store`` in each ``data_root`` by default.
        splits: whose data sets: some of ``train``, ``val``, ``test``.
        cfg_options: overrides with dotted keys.
        threads: how many decode at once; None takes the number of processors, 8 at most.

    Raises:
        GcsegError: something the user can mend: config, data, room on the disk. Its text is one paragraph.
    """
    from gcseg.config_build import built_from
    from gcseg.datasets.converters.store import write_store as write
    from gcseg.datasets.store import store_folder

    cfg = load_config(config, cfg_options)
    loaders = tuple(f"{split}_dataloader" for split in splits)
    require(cfg, loaders, "a decoded store")
    wanted = True if out is None else os.path.abspath(os.path.expanduser(out))
    by_folder: dict[str, list[BaseSegDataset]] = {}
    options: dict[str, Any] = {}
    for place, part in innermost_datasets(cfg, loaders):
        with built_from(cfg):
            dataset = _build(part, place)
        folder = store_folder(wanted, dataset.data_root, place)
        by_folder.setdefault(folder, []).append(dataset)
        options[f"{option_of(place)}.store"] = True if out is None else folder
    if not options:
        raise ConfigError(f"{' and '.join(loaders)}: no data set in them; give dict(type='CityscapesDataset', ...)")
    return DecodedStores({folder: write(datasets, folder, threads) for folder, datasets in by_folder.items()}, options)


def _build(part: dict, place: str) -> BaseSegDataset:
    from gcseg.datasets import BaseSegDataset
    from gcseg.registry import DATASETS

    dataset = DATASETS.build({**part, "store": None})
    if not isinstance(dataset, BaseSegDataset):
        raise ConfigError(
            f"{place}: {type(dataset).__name__} is no BaseSegDataset; a decoded store is written for those alone"
        )
    return dataset
