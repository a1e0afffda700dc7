"""The classes of data sets that are known when these are built, and not before."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import nn

from gcseg.registry import HOOKS
from gcseg.utils.errors import ConfigError


@HOOKS.register_module()
class ClassesHook(Hook):
    """Compare the classes of each data set with those of each head, before weights are loaded.

    Where the classes stand in the config, its check has done so; where a file or code names them, as ``classes.txt``
    does for :class:`~gcseg.datasets.FolderDataset`, labels would fail in the loss, or classes never be learnt.
    Classes must stand in one order in all data sets; a name that differs is warned of.
    """

    priority = "VERY_HIGH"

    def before_run(self, runner: Any) -> None:
        """Compare.

        Raises:
            ConfigError: two numbers differ, or the order of the classes in two data sets; names both places.
        """
        trained: Sequence[str] = ()
        for split in ("train", "val", "test"):
            dataset = getattr(getattr(runner, f"_{split}_loop"), "dataloader", None)  # no loop: None, or its config
            dataset = getattr(dataset, "dataset", None)
            classes = getattr(dataset, "metainfo", {}).get("classes") or ()
            trained = trained or classes
            if len(trained) == len(classes):
                _check_names(trained, classes, split)
            for name, labels in _labels_of_heads(runner.model):
                if classes and labels != len(classes):
                    names = ", ".join(map(str, classes[:5])) + (", ..." if len(classes) > 5 else "")
                    raise ConfigError(
                        f"{name}.num_classes is {labels} but {split}_dataloader.dataset has {len(classes)} "
                        f"classes ({names}); set {name}.num_classes={len(classes)}, or correct the "
                        "classes of the data set"
                    )


def _check_names(trained: Sequence[str], classes: Sequence[str], split: str) -> None:
    differing = [i for i, pair in enumerate(zip(trained, classes, strict=True)) if pair[0] != pair[1]]
    if not differing:
        return
    i = differing[0]
    text = f"label {i} is the class {trained[i]!r} in train_dataloader and {classes[i]!r} in {split}_dataloader"
    if sorted(map(str, trained)) == sorted(map(str, classes)):
        raise ConfigError(f"{text}: the classes stand in another order there; give both data sets the same `classes`")
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
