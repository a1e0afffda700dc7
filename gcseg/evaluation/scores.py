"""From counted pixels to scores, and the table of them.

All counts are int64 and all quotients float64, so that the result depends neither on the order of the images nor on how
many pixels there are. Letters: C classes. An area is a number of pixels of one class, an array of shape (C,):
``intersect`` (predicted and true), ``pred`` (predicted), ``label`` (true); pixels to be ignored are in none of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

IOU_METRICS: tuple[str, ...] = ("mIoU", "mDice", "mFscore")


def areas_from_confusion(confusion: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The four areas that scores are made of.

    Args:
        confusion: (C, C) int64; row: true class, column: predicted class.

    Returns:
        intersection, union, predicted, labelled: (C,) int64 each.
    """
    intersect = confusion.diagonal()
    pred, label = confusion.sum(0), confusion.sum(1)
    return intersect, pred + label - intersect, pred, label


def scores_from_areas(
    intersect: np.ndarray,
    pred: np.ndarray,
    label: np.ndarray,
    metrics: Sequence[str] = ("mIoU",),
    beta: float = 1.0,
    nan_to_num: float | None = None,
) -> dict[str, np.ndarray]:
    """Scores per class, as fractions of 1.

    IoU and Dice are Jaccard's and Dice's coefficients, Acc (= Recall) and Precision are relative to the label and to
    the prediction, and F-score is van Rijsbergen's ``(1 + b^2) P R / (b^2 P + R)``.

    Args:
        intersect, pred, label: areas, (C,) integers.
        metrics: any of ``IOU_METRICS``; 'mIoU' gives IoU and Acc, 'mDice' gives Dice and Acc, 'mFscore' gives Fscore,
            Precision and Recall.
        beta: weight of the recall in the F-score.
        nan_to_num: the value for quotients 0 / 0 (a class that occurs nowhere); None leaves NaN.

    Returns:
        'aAcc' with shape (), the share of labelled pixels that are right, then (C,) float64 for each score.
    """
    intersect, pred, label = (np.asarray(a).astype(np.float64) for a in (intersect, pred, label))
    with np.errstate(divide="ignore", invalid="ignore"):
        recall, precision = intersect / label, intersect / pred
        scores: dict[str, np.ndarray] = {"aAcc": np.asarray(np.divide(intersect.sum(), label.sum()))}
        for metric in metrics:
            if metric == "mIoU":
                scores["IoU"], scores["Acc"] = intersect / (pred + label - intersect), recall
            elif metric == "mDice":
                scores["Dice"], scores["Acc"] = 2 * intersect / (pred + label), recall
            else:
                f = (1 + beta**2) * precision * recall / (beta**2 * precision + recall)
                scores["Fscore"], scores["Precision"], scores["Recall"] = f, precision, recall
    if nan_to_num is not None:
        scores = {name: np.nan_to_num(value, nan=nan_to_num) for name, value in scores.items()}
    return scores


def mean_scores(scores: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Percentages under the names that logs and checkpoints use: aAcc as it is, every other score's mean as ``m...``.

    The mean leaves out classes whose score is NaN; it is NaN when all are.
    """
    means = {}
    for name, value in scores.items():
        defined = value[~np.isnan(value)]
        means[name if name == "aAcc" else f"m{name}"] = float(defined.mean() * 100) if defined.size else float("nan")
    return means


def per_class_scores(scores: Mapping[str, np.ndarray], classes: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """``{class: {score: percent}}``; None where a score is undefined, which JSON can hold and NaN is not."""
    table: dict[str, dict[str, float | None]] = {}
    for i, name in enumerate(classes):
        row = {score: float(value[i] * 100) for score, value in scores.items() if value.ndim}
        table[name] = {score: None if np.isnan(value) else value for score, value in row.items()}
    return table


def format_table(per_class: Mapping[str, Mapping[str, float | None]]) -> str:
    """A text table with one row per class and percentages with two decimals; '-' where a score is undefined."""
    columns = list(next(iter(per_class.values()), {}))
    rows = [["Class", *columns]]
    for name, row in per_class.items():
        rows.append([name, *("-" if row[c] is None else f"{row[c]:.2f}" for c in columns)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * w for w in widths))
    return "\n".join(lines)


def absent_classes_message(
    label: np.ndarray, pred: np.ndarray, classes: Sequence[str], nan_to_num: float | None = None
) -> str | None:
    """One sentence or two on classes without a pixel of ground truth, or None when there are none.

    Such a class has no recall; its IoU is 0 when it was predicted somewhere and undefined when it was not. A mean over
    the rest looks like a mean over all, so it is said.
    """
    unseen = [c for c, n_label, n_pred in zip(classes, label, pred, strict=True) if not n_label and not n_pred]
    invented = [c for c, n_label, n_pred in zip(classes, label, pred, strict=True) if not n_label and n_pred]
    if not unseen and not invented:
        return None
    parts = [f"{len(unseen) + len(invented)} of {len(classes)} classes have no pixel of ground truth here."]
    if unseen:
        fate = "left out of the means" if nan_to_num is None else f"counted as nan_to_num={nan_to_num}"
        parts.append(f"Not predicted either, so {fate}: {', '.join(unseen)}.")
    if invented:
        parts.append(f"Predicted somewhere, so counted with IoU 0: {', '.join(invented)}.")
    return " ".join(parts)


def sum_areas(results: Sequence[Sequence[Tensor]]) -> list[np.ndarray]:
    """Add up the areas of all images: a list of (intersect, union, pred, label) to four arrays (C,) int64."""
    return [torch.stack([torch.as_tensor(r[i]) for r in results]).sum(0).numpy() for i in range(len(results[0]))]
