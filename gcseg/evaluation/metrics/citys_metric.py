"""Cityscapes: files for the benchmark's server, and the scores of its official script."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log

from gcseg.evaluation.metrics.counting import CountingMetric
from gcseg.evaluation.samples import PngWriter, class_names, label_map_of, sample_confusion
from gcseg.evaluation.scores import (
    absent_classes_message,
    areas_from_confusion,
    format_table,
    mean_scores,
    per_class_scores,
    scores_from_areas,
)
from gcseg.metainfo import CITYSCAPES_LABELS
from gcseg.registry import METRICS
from gcseg.utils.errors import ConfigError, DataError
from gcseg.utils.names import unknown_name_message

# The benchmark's categories of the evaluated classes.
_CATEGORIES: Mapping[str, str] = {
    "road": "flat",
    "sidewalk": "flat",
    "building": "construction",
    "wall": "construction",
    "fence": "construction",
    "pole": "object",
    "traffic light": "object",
    "traffic sign": "object",
    "vegetation": "nature",
    "terrain": "nature",
    "sky": "sky",
    "person": "human",
    "rider": "human",
    "car": "vehicle",
    "truck": "vehicle",
    "bus": "vehicle",
    "train": "vehicle",
    "motorcycle": "vehicle",
    "bicycle": "vehicle",
}
_OPTIONS = ("output_dir", "ignore_index", "format_only", "keep_results", "collect_device", "prefix", "collect_dir")


@METRICS.register_module()
class CityscapesMetric(CountingMetric):
    """The scores of Cityscapes' pixel-level benchmark, counted here: the package cityscapesscripts is not needed.

    The official script compares label ids and skips the labels that are not evaluated; comparing train ids and skipping
    ``ignore_index`` counts the same pixels. Its instance-weighted scores (iIoU) need the instance files and are not
    computed.

    Args:
        output_dir: folder for the predictions, one PNG of label ids (7 for road ... 33 for bicycle) per image, in the
            form that the benchmark's server takes.
        ignore_index: label of pixels that are not counted.
        format_only: write the predictions and compute no scores; needs ``keep_results=True``.
        keep_results: write the predictions. Without it there is nothing to keep, so nothing is written; nothing is ever
            deleted.
        collect_device: 'cpu' or 'gpu'; results of several processes meet through the process group with either.
        prefix: prepended to the keys.
        collect_dir: folder that all processes see, through which the results go instead; for ``collect_device='cpu'``.
        **unknown: nothing; a key that is not known is an error.

    ``compute_metrics`` returns ``averageScoreClasses`` and ``averageScoreCategories``, mean IoU over the classes and
    over the seven categories, as fractions of 1 like the official script. After ``evaluate``, ``per_class`` and
    ``per_category`` hold ``{name: {'IoU': percent, 'Acc': percent}}`` on the main process.

    Raises:
        TypeError: an argument of an unknown name.
        ConfigError: options that contradict each other.
    """

    default_prefix = ""

    def __init__(
        self,
        output_dir: str | os.PathLike | None = None,
        ignore_index: int = 255,
        format_only: bool = False,
        keep_results: bool = False,
        collect_device: str = "cpu",
        prefix: str | None = None,
        collect_dir: str | None = None,
        **unknown: Any,
    ) -> None:
        for key in unknown:
            raise TypeError(unknown_name_message("argument of CityscapesMetric", key, _OPTIONS))
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        if format_only and not keep_results:
            raise ConfigError("CityscapesMetric: format_only=True needs keep_results=True, or nothing would be left")
        if keep_results and output_dir is None:
            raise ConfigError("CityscapesMetric: keep_results=True needs output_dir, the folder for the files")
        self.output_dir = output_dir
        self.ignore_index = ignore_index
        self.format_only = format_only
        self.keep_results = keep_results
        self.per_class: dict[str, dict[str, float | None]] = {}
        self.per_category: dict[str, dict[str, float | None]] = {}
        self._writer = PngWriter(output_dir) if keep_results and output_dir is not None else None

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count one batch and write its predictions.

        Args:
            data_batch: not used.
            data_samples: with ``pred_sem_seg.data`` (1, H, W) of train ids and, unless ``format_only``,
                ``gt_sem_seg.data`` of the same size.

        Raises:
            DataError: a sample that cannot be scored; names its file.
        """
        classes = self._classes()
        for sample in data_samples:
            pred = label_map_of(sample, "pred_sem_seg")
            if self._writer is not None:
                self._writer.write(sample, to_label_ids(pred.cpu().numpy(), classes))
            if self.format_only:
                self.add(sample, ())
                continue
            confusion, label, _ = sample_confusion(sample, pred, len(classes), self.ignore_index)
            self.add(sample, (confusion.clone(), label))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Scores of the data set from the confusion matrices of its images.

        Args:
            results: (confusion (C, C), labelled pixels (C,)) int64 per image.

        Returns:
            averageScoreClasses, averageScoreCategories; empty with ``format_only``.

        Raises:
            DataError: no image was evaluated.
        """
        if self.format_only and self._writer is not None:
            print_log(f"{len(results)} predictions are in {self._writer.folder}; no scores with format_only", "current")
            return {}
        if not results:
            raise DataError("CityscapesMetric: no image was evaluated; is the data set of this dataloader empty?")
        classes = self._classes()
        confusion = torch.stack([r[0] for r in results]).sum(0).numpy()
        label = torch.stack([r[1] for r in results]).sum(0).numpy()
        intersect, _, pred, _ = (a.numpy() for a in areas_from_confusion(torch.from_numpy(confusion)))
        by_class = scores_from_areas(intersect, pred, label)
        self.per_class = per_class_scores(by_class, classes)

        categories = list(dict.fromkeys(_CATEGORIES[c] for c in classes))
        member = np.array([[_CATEGORIES[c] == k for c in classes] for k in categories], dtype=np.int64)  # K C
        by_category = scores_from_areas((member @ confusion @ member.T).diagonal(), member @ pred, member @ label)
        self.per_category = per_class_scores(by_category, categories)
        for title, table in (("classes", self.per_class), ("categories", self.per_category)):
            print_log(f"Cityscapes scores of the {title}:\n{format_table(table)}", logger="current")
        absent = absent_classes_message(label, pred, classes)
        if absent:
            print_log(absent, logger="current")
        return {
            "averageScoreClasses": mean_scores(by_class)["mIoU"] / 100,
            "averageScoreCategories": mean_scores(by_category)["mIoU"] / 100,
        }

    def _classes(self) -> list[str]:
        classes = class_names(self.dataset_meta, type(self).__name__)
        for name in classes:
            if name not in _CATEGORIES:
                raise ConfigError(
                    unknown_name_message("Cityscapes class", name, _CATEGORIES, "For other data sets use IoUMetric.")
                )
        return classes


def to_label_ids(train_ids: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Train ids to the label ids of the benchmark's files.

    Args:
        train_ids: (H, W) integers; an index beyond ``classes`` becomes 0, the label "unlabeled".
        classes: names of the classes in the order of the train ids.

    Returns:
        (H, W) uint8.
    """
    table: np.ndarray = np.zeros(len(classes) + 1, dtype=np.uint8)
    table[: len(classes)] = [CITYSCAPES_LABELS.index(c) for c in classes]
    inside = (train_ids >= 0) & (train_ids < len(classes))
    return table[np.where(inside, train_ids, len(classes))]
