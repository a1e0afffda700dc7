"""Intersection over union, Dice, F-score: the metric of every recipe."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from gcseg.evaluation.metrics.counting import CountingMetric
from gcseg.evaluation.samples import PngWriter, class_names, label_map_of, sample_confusion
from gcseg.evaluation.scores import (
    IOU_METRICS,
    absent_classes_message,
    areas_from_confusion,
    format_table,
    mean_scores,
    per_class_scores,
    scores_from_areas,
    sum_areas,
)
from gcseg.ops.confusion import confusion_matrix
from gcseg.registry import METRICS
from gcseg.utils.errors import ConfigError, DataError
from gcseg.utils.names import unknown_name_message

_OPTIONS = (
    "ignore_index",
    "iou_metrics",
    "nan_to_num",
    "beta",
    "collect_device",
    "output_dir",
    "format_only",
    "prefix",
    "collect_dir",
)


@METRICS.register_module()
class IoUMetric(CountingMetric):
    """Scores of semantic segmentation over a whole data set: areas are added up over all images, then divided.

    Args:
        ignore_index: label of pixels that are not counted.
        iou_metrics: 'mIoU' (gives mIoU and mAcc), 'mDice' (mDice, mAcc), 'mFscore' (mFscore, mPrecision, mRecall),
            one or several. aAcc comes with each.
        nan_to_num: fraction that stands in for undefined scores before means are taken; None leaves them out.
        beta: weight of the recall in the F-score.
        collect_device: 'cpu' or 'gpu'; results of several processes meet through the process group with either.
        output_dir: folder for the predictions, one PNG of class indices per image; for data sets with
            reduce_zero_label (ADE20K) with 1 added, as its server wants them.
        format_only: write the predictions and compute no scores, for test sets without labels.
        prefix: prepended to the keys, as ``prefix/mIoU``.
        collect_dir: folder that all processes see, through which the results go instead; for ``collect_device='cpu'``.
        **unknown: nothing; a key that is not known is an error.

    ``compute_metrics`` returns percentages that are not rounded, so that checkpoints whose second decimals agree are
    still told apart; mmsegmentation's numbers are these rounded to two decimals, and the log prints them so.

    After ``evaluate``, ``per_class`` holds ``{class: {'IoU': percent, 'Acc': percent}}``, None for undefined scores; on
    the main process only.

    Raises:
        TypeError: an argument of an unknown name.
        ConfigError: an unknown score, or ``format_only`` without ``output_dir``.
    """

    default_prefix = ""

    def __init__(
        self,
        ignore_index: int = 255,
        iou_metrics: str | Sequence[str] = ("mIoU",),
        nan_to_num: float | None = None,
        beta: float = 1,
        collect_device: str = "cpu",
        output_dir: str | os.PathLike | None = None,
        format_only: bool = False,
        prefix: str | None = None,
        collect_dir: str | None = None,
        **unknown: Any,
    ) -> None:
        for key in unknown:
            raise TypeError(unknown_name_message("argument of IoUMetric", key, _OPTIONS))
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        metrics = [iou_metrics] if isinstance(iou_metrics, str) else list(iou_metrics)
        for name in metrics:
            if name not in IOU_METRICS:
                raise ConfigError(unknown_name_message("score in iou_metrics", str(name), IOU_METRICS))
        if not metrics and not format_only:
            raise ConfigError(f"IoUMetric: iou_metrics is empty; give any of {', '.join(IOU_METRICS)}")
        if format_only and output_dir is None:
            raise ConfigError("IoUMetric: format_only=True writes files and nothing else; give output_dir as well")
        self.ignore_index = ignore_index
        self.metrics = metrics
        self.nan_to_num = nan_to_num
        self.beta = beta
        self.output_dir = output_dir
        self.format_only = format_only
        self.per_class: dict[str, dict[str, float | None]] = {}
        self._writer = None if output_dir is None else PngWriter(output_dir)
        self._warned_outside = False

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count one batch.

        Args:
            data_batch: not used.
            data_samples: with ``pred_sem_seg.data`` (1, H, W) and, unless ``format_only``, ``gt_sem_seg.data`` of the
                same size.

        Raises:
            DataError: a sample that cannot be scored; names its file.
        """
        classes = class_names(self.dataset_meta, type(self).__name__)
        for sample in data_samples:
            pred = label_map_of(sample, "pred_sem_seg")
            if self._writer is not None:
                indices = pred.cpu().numpy()
                self._writer.write(sample, indices + 1 if self._adds_one(sample) else indices)
            if self.format_only:
                # mmengine demands one result per image, and takes the end of the list for the end of the data set.
                self.add(sample, ())
                continue
            confusion, label, outside = sample_confusion(sample, pred, len(classes), self.ignore_index)
            intersect, _, predicted, _ = areas_from_confusion(confusion)
            if outside and not self._warned_outside:
                self._warned_outside = True
                print_log(
                    f"IoUMetric: predictions beyond the {len(classes)} classes of the data set count as wrong",
                    logger="current",
                    level=logging.WARNING,
                )
            self.add(sample, (intersect.clone(), predicted + label - intersect, predicted, label))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Scores of the data set from the areas of its images.

        Args:
            results: (intersect, union, pred, label) per image, (C,) int64 each.

        Returns:
            aAcc and the means of what ``iou_metrics`` asks for, in percent; empty with ``format_only``.

        Raises:
            DataError: no image was evaluated.
        """
        if self.format_only and self._writer is not None:
            print_log(f"{len(results)} predictions are in {self._writer.folder}; no scores with format_only", "current")
            return {}
        if not results:
            raise DataError("IoUMetric: no image was evaluated; is the data set of this dataloader empty?")
        classes = class_names(self.dataset_meta, type(self).__name__)
        intersect, _, pred, label = sum_areas(results)
        scores = scores_from_areas(intersect, pred, label, self.metrics, self.beta, self.nan_to_num)
        self.per_class = per_class_scores(scores, classes)
        print_log(f"per class results:\n{format_table(self.per_class)}", logger="current")
        absent = absent_classes_message(label, pred, classes, self.nan_to_num)
        if absent:
            print_log(absent, logger="current")
        return mean_scores(scores)

    @staticmethod
    def intersect_and_union(
        pred_label: Tensor, label: Tensor, num_classes: int, ignore_index: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Areas of one image.

        Args:
            pred_label: (H, W) integers from 0 to ``num_classes - 1``.
            label: (H, W) integers, the same range or ``ignore_index``.
            num_classes: C.
            ignore_index: label of pixels that are not counted.

        Returns:
            intersection, union, predicted, labelled: (C,) int64 each, on the CPU.
        """
        confusion = confusion_matrix(pred_label.long(), label.long(), num_classes, ignore_index)
        intersect, union, pred, true = torch.stack(areas_from_confusion(confusion)).cpu()
        return intersect, union, pred, true

    def _adds_one(self, sample: dict) -> bool:
        own = sample.get("reduce_zero_label")
        return bool((self.dataset_meta or {}).get("reduce_zero_label", False) if own is None else own)
