"""Boundary IoU: intersection over union of what lies near the contours."""

from __future__ import annotations

import math

import cv2
import numpy as np

#: Width of the band as a share of the image's diagonal, as Cheng et al. use it.
DILATION_RATIO = 0.02


def band_width(height: int, width: int, ratio: float = DILATION_RATIO) -> int:
    """How many pixels from a contour still count: ``ratio`` of the image's diagonal, rounded, at least 1."""
    return max(1, round(ratio * math.hypot(height, width)))


def boundary_band(labels: np.ndarray, unlabelled: np.ndarray, distance: int) -> np.ndarray:
    """Pixels near the contour of their own class.

    Args:
        labels: (H, W) class of each pixel, 0 to 32766; of unlabelled ones it does not matter.
        unlabelled: (H, W) bool. Such pixels are of every class: a region has no contour towards them.
        distance: d; a square of 2 d + 1 pixels around a pixel of the band has another class in it, or leaves the image.

    Returns:
        (H, W) bool.
    """
    # Instead of an erosion for each class: the square is of one class where its minimum is its maximum.
    square = np.ones((2 * distance + 1, 2 * distance + 1), np.uint8)
    labels = labels.astype(np.int16)
    lowest = cv2.erode(np.where(unlabelled, np.int16(32767), labels), square)
    highest = cv2.dilate(np.where(unlabelled, np.int16(-1), labels), square)
    band = lowest != highest
    band[:distance], band[-distance:], band[:, :distance], band[:, -distance:] = True, True, True, True
    return band


def boundary_areas(
    pred: np.ndarray, label: np.ndarray, num_classes: int, ignore_index: int = 255, ratio: float = DILATION_RATIO
) -> np.ndarray:
    """Areas from which Boundary IoU is made (Cheng et al. 2021, arXiv 2103.16562, eq. 2).

    With G_d the pixels of the true region G of a class that lie within d pixels of its contour, and P_d those of the
    predicted region P, it is ``|G_d & P_d| / |G_d | P_d|``; d is 2% of the image's diagonal. Over a data set the areas
    of all images are added up, as for IoU. Unlabelled pixels are not counted, and regions have no contour towards them.

    Args:
        pred: (H, W) predicted classes; what is no class is wrong.
        label: (H, W) true classes, or ``ignore_index``.
        num_classes: C, at most 32766.
        ignore_index: label of pixels that are not counted.
        ratio: of d to the diagonal.

    Returns:
        (3, C) int64: |G_d & P_d|, |P_d|, |G_d|.
    """
    unlabelled = label == ignore_index
    pred = np.where((pred < 0) | (pred >= num_classes), num_classes, pred)
    height, width = label.shape
    distance = band_width(height, width, ratio)
    of_label = boundary_band(label, unlabelled, distance) & ~unlabelled
    of_pred = boundary_band(pred, unlabelled, distance) & ~unlabelled
    both = of_label & of_pred & (label == pred)
    areas = [np.bincount(m, minlength=num_classes)[:num_classes] for m in (label[both], pred[of_pred], label[of_label])]
    return np.stack(areas)
