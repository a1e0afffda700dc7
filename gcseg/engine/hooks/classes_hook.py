"""The classes of data sets that are known when these are built, and not before."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import nn

from gcseg.config_values import remedy_of_count
from gcseg.registry import HOOKS
from gcseg.utils.errors import ConfigError

_SPLITS = ("train", "val", "test")


@HOOKS.register_module()
class ClassesHook(Hook):
    """Compare the classes of each data set with those of each head, before weights are loaded.

    Where the classes stand in the config, its check has done so; where a file or code names them, as ``classes.txt``
    does for :class:`~gcseg.datasets.FolderDataset`, labels would fail in the loss, or classes never be learnt.
    Classes must stand in one order in all data sets, and in a checkpoint that is tested; a name that differs is warned
    of.
    """

    priority = "VERY_HIGH"

    def before_run(self, runner: Any) -> None:
        """Compare.

        Raises:
            ConfigError: two numbers differ, or the order of the classes in two data sets; names both places.
        """
        trained: Sequence[str] = ()
        for split in _SPLITS:
            classes = _classes_of(runner, split)
            trained = trained or classes
            if len(trained) == len(classes):
                _check_names(trained, "train_dataloader", classes, split)
            for name, labels in _labels_of_heads(runner.model):
                if classes and labels != len(classes):
                    names = ", ".join(map(str, classes[:5])) + (", ..." if len(classes) > 5 else "")
                    raise ConfigError(
                        f"{name}.num_classes is {labels} but {split}_dataloader.dataset has {len(classes)} "
                        f"classes ({names}); {remedy_of_count(name, len(classes))}"
                    )

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Compare the classes of a checkpoint that is tested with those of the data.

        A training may go on from one with other classes; only their numbers have to fit.

        Raises:
            ConfigError: they stand in another order: the model would be right and be scored as wrong.
        """
        trained = ((checkpoint.get("meta") or {}).get("dataset_meta") or {}).get("classes") or ()
        classes = _classes_of(runner, "test")
        if classes and len(trained) == len(classes) and not _classes_of(runner, "train"):
            _check_names(trained, "the checkpoint", classes, "test")


def _classes_of(runner: Any, split: str) -> Sequence[str]:
    """The names of the split's data set; empty where it is not used or has none."""
    dataloader = getattr(getattr(runner, f"_{split}_loop"), "dataloader", None)  # no loop: None, or its config
    return getattr(getattr(dataloader, "dataset", None), "metainfo", {}).get("classes") or ()


def _check_names(trained: Sequence[str], place: str, classes: Sequence[str], split: str) -> None:
    differing = [i for i, pair in enumerate(zip(trained, classes, strict=True)) if pair[0] != pair[1]]
    if not differing:
        return
    i = differing[0]
    text = f"label {i} is the class {trained[i]!r} in {place} and {classes[i]!r} in {split}_dataloader"
    if sorted(map(str, trained)) == sorted(map(str, classes)):
        raise ConfigError(f"{text}: the classes stand in another order there; give both the same `classes`")
    print_log(f"{text}; they are scored as one class. Is a name misspelt?", "current", logging.WARNING)


def _labels_of_heads(model: Any) -> Iterator[tuple[str, int]]:
    """Name of each head in the config, and how many labels it tells apart."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    for key in ("decode_head", "auxiliary_head"):
        head = getattr(model, key, None)
        several = isinstance(head, list | tuple | nn.ModuleList)
        for i, part in enumerate(head if several else [head]):  # type: ignore[arg-type]
            count = getattr(part, "num_classes", None)
            if isinstance(count, int):
                yield f"model.{key}" + (f"[{i}]" if several else ""), max(count, 2)  # 1: foreground and background
