"""What metrics read from a data sample and write to a folder, with the checks that both need.

A data sample arrives as mmengine's ``Evaluator`` hands it on: a dict with the meta information and, under
``pred_sem_seg`` and ``gt_sem_seg``, an object or dict with ``data`` of shape (1, H, W).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gcseg.ops.confusion import confusion_matrix
from gcseg.utils.errors import ConfigError, DataError


def file_of(sample: Mapping[str, Any], key: str = "img_path") -> str:
    """The file that a sample came from, for messages."""
    return str(sample.get(key) or sample.get("img_path") or "an image without a path")


def label_map_of(sample: Mapping[str, Any], key: str) -> Tensor:
    """The map under ``key`` (``'pred_sem_seg'`` or ``'gt_sem_seg'``).

    Returns:
        (H, W), on the device it was on.

    Raises:
        DataError: there is none, or it is not one map; names the image.
    """
    field = sample.get(key)
    if field is None:
        if key == "gt_sem_seg":
            raise DataError(
                f"{file_of(sample)}: no ground truth (`gt_sem_seg`), but scores were asked for. Put "
                "LoadAnnotations into the test pipeline, or for a test set without labels set format_only=True "
                "and output_dir."
            )
        raise DataError(f"{file_of(sample)}: the model returned no `{key}`; its predict() must fill it")
    data = field["data"] if isinstance(field, Mapping) else field.data
    data = torch.as_tensor(data)
    if data.ndim == 3 and data.shape[0] == 1:
        data = data[0]
    if data.ndim != 2:
        raise DataError(f"{file_of(sample)}: `{key}` has shape {tuple(data.shape)}; one map (1, H, W) is needed")
    return data


def sample_confusion(
    sample: Mapping[str, Any], pred: Tensor, num_classes: int, ignore_index: int
) -> tuple[Tensor, Tensor, int]:
    """Confusion matrix of one image.

    Args:
        sample: the data sample; its ground truth is compared at its own size.
        pred: (H, W) class indices. One that is no class of the data set is wrong wherever it stands.
        num_classes: C.
        ignore_index: label of pixels that are not counted.

    Returns:
        confusion: (C, C) int64 on the CPU; row: true class, column: predicted class.
        label: (C,) int64 labelled pixels per class, those with a prediction outside the classes included.
        outside: number of labelled pixels whose prediction is no class.

    Raises:
        DataError: sizes differ, or the label has a value that is neither a class nor ``ignore_index``; names the file.
    """
    label = label_map_of(sample, "gt_sem_seg").to(pred.device, torch.int64)
    name = file_of(sample, "seg_map_path")
    if pred.shape != label.shape:
        raise DataError(
            f"{name}: the label is {tuple(label.shape)} and the prediction {tuple(pred.shape)} (H, W). "
            "Predictions have the size of the image file: in the test pipeline LoadAnnotations must stand after "
            "Resize, and the label file must have the size of its image."
        )
    pred = pred.long()
    try:
        confusion = confusion_matrix(pred, label, num_classes, ignore_index).cpu()
        return confusion, confusion.sum(1), 0
    except ValueError:  # something is out of range; the usual case need not look for it
        bad = ((label < 0) | (label >= num_classes)) & (label != ignore_index)
    if bad.any():
        values = torch.unique(label[bad]).tolist()
        raise DataError(
            f"{name}: the label has value{'s' if len(values) > 1 else ''} {', '.join(map(str, values[:8]))}, but "
            f"the data set has classes 0 to {num_classes - 1} and {ignore_index} for unlabelled. Map them with "
            "void_labels, a metainfo with these classes, or reduce_zero_label."
        )
    # One more column holds the predictions that are no class; its row stays empty.
    pred = torch.where((pred < 0) | (pred >= num_classes), num_classes, pred)
    counted = confusion_matrix(pred, label, num_classes + 1, ignore_index).cpu()[:num_classes]
    return counted[:, :num_classes], counted.sum(1), int(counted[:, num_classes].sum())


def class_names(dataset_meta: Mapping[str, Any] | None, metric: str) -> list[str]:
    """Names of the classes, from the data set's meta information.

    Raises:
        ConfigError: there are none.
    """
    classes = (dataset_meta or {}).get("classes")
    if not classes:
        raise ConfigError(
            f"{metric}: no class names. Set metric.dataset_meta = dict(classes=(...)); mmengine's runner takes "
            "them from the data set, which knows them by METAINFO or metainfo=dict(classes=...)."
        )
    return [str(c) for c in classes]


class PngWriter:
    """Writes one PNG of class indices per image into a folder; leaves everything else in that folder alone."""

    def __init__(self, output_dir: str | os.PathLike) -> None:
        self.folder = Path(output_dir).expanduser().absolute()
        self._sources: dict[str, str] = {}

    def write(self, sample: Mapping[str, Any], indices: np.ndarray) -> Path:
        """Write ``indices``, (H, W) integers from 0 to 65535, as ``<name of the image>.png``.

        8 bits per pixel, or 16 when an index needs them.

        Raises:
            DataError: the sample has no path to be named after, another image with the same name came before, or the
                folder is that of the image or its label, which would be written over.
        """
        source = sample.get("img_path")
        if not source:
            raise DataError(
                "output_dir names predictions after `img_path`, which this sample lacks; add it to meta_keys"
            )
        path = self.folder / f"{Path(str(source)).stem}.png"
        if self._sources.setdefault(path.name, str(source)) != str(source):
            raise DataError(
                f"{source} and {self._sources[path.name]} would both be written to {path}; rename one of them"
            )
        for kind in ("img_path", "seg_map_path"):
            if sample.get(kind) and Path(str(sample[kind])).absolute().parent.resolve() == self.folder.resolve():
                raise DataError(
                    f"{self.folder}: predictions would be written among the data, over files of the same names "
                    f"({sample[kind]}); give another folder"
                )
        self.folder.mkdir(parents=True, exist_ok=True)
        wide = indices.size and int(indices.max()) > 255
        Image.fromarray(indices.astype(np.uint16 if wide else np.uint8)).save(path)
        return path
