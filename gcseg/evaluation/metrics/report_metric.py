"""What a report shows of a test: numbers of the whole data set, and pictures of its worst and best images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from gcseg.evaluation.boundary import DILATION_RATIO, boundary_areas
from gcseg.evaluation.calibration import BINS, reliability
from gcseg.evaluation.metrics.counting import CountingMetric
from gcseg.evaluation.samples import class_names, file_of, label_map_of, sample_confusion
from gcseg.evaluation.scores import scores_from_areas
from gcseg.utils.errors import DataError

_JPEG_QUALITY = 80


@dataclass(eq=False)
class _Image:
    """Counts of one image, those that are not zero, and a picture of it while it is among the worst or best.

    Attributes:
        path: of the photograph.
        cells, counts: of the confusion matrix with a last column for predictions that are no class, (C, C + 1) in rows.
        edge_cells, edge_counts: of the areas of Boundary IoU, (3, C) in rows.
        bins: of the reliability diagram, (3, M); None without probabilities.
        iou: class -> IoU of the classes of its ground truth.
        picture: see :func:`_take_picture`.
    """

    path: str
    cells: np.ndarray
    counts: np.ndarray
    edge_cells: np.ndarray
    edge_counts: np.ndarray
    bins: np.ndarray | None
    iou: dict[int, float]
    accuracy: float
    picture: dict[str, Any] = field(default_factory=dict)

    @property
    def score(self) -> float:
        return float(np.mean(list(self.iou.values())))


# Paths settle ties, so that the choice does not depend on who saw which image when.
def _worst_first(image: _Image) -> tuple[float, str]:
    return image.score, image.path


def _best_first(image: _Image) -> tuple[float, str]:
    return -image.score, image.path


class ReportMetric(CountingMetric):
    """Collects what a report shows of a test; :class:`gcseg.engine.hooks.ReportHook` feeds it.

    After ``evaluate``, ``found`` is a dict for JSON on the main process: ``classes``, ``palette``, ``num_images``,
    ``num_unlabelled`` (images without a labelled pixel), ``confusion`` ((C, C) pixels, row: true class), ``outside``
    ((C,), labelled pixels whose prediction is no class), ``boundary`` (rows of
    :func:`~gcseg.evaluation.boundary.boundary_areas`), ``calibration`` (rows of
    :func:`~gcseg.evaluation.calibration.reliability`, or None) and ``num_uncalibrated`` (images without probabilities),
    ``worst`` and ``best``: pictures, by the mean IoU of the classes that an image has.

    Per image a few kilobytes are kept, and pictures of ``2 * num_pictures`` images.

    Args:
        ignore_index: label of pixels that are not counted.
        num_pictures: of the worst, and of the best images.
        picture_size: pixels of a picture's longer side.
        backend_args: for reading photographs through mmengine's fileio.
        collect_dir: see :class:`CountingMetric`.
    """

    default_prefix = ""

    def __init__(
        self,
        ignore_index: int = 255,
        num_pictures: int = 6,
        picture_size: int = 512,
        backend_args: dict | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_dir=collect_dir)
        self.ignore_index = ignore_index
        self.num_pictures = num_pictures
        self.picture_size = picture_size
        self.backend_args = backend_args
        self.found: dict[str, Any] = {}
        self._worst: list[_Image] = []
        self._best: list[_Image] = []

    def process(self, data_batch: Any, data_samples: Sequence[Any]) -> None:
        """Count one batch.

        Args:
            data_batch: not used.
            data_samples: data samples, or dicts of their fields, with ``pred_sem_seg`` and ``gt_sem_seg`` of one size.
                Without ``seg_logits`` there is nothing to say of their calibration.

        Raises:
            DataError: a sample that cannot be scored; names its file.
        """
        classes = class_names(self.dataset_meta, type(self).__name__)
        for sample in data_samples:
            pred = label_map_of(sample, "pred_sem_seg")
            image = self._count(sample, pred, len(classes))
            self.add(sample, image)
            if image.iou and self._is_extreme(image):
                label = label_map_of(sample, "gt_sem_seg").cpu().numpy()
                photograph = self._photograph(file_of(sample))
                image.picture = _take_picture(photograph, label, pred.cpu().numpy(), len(classes), self.picture_size)

    def compute_metrics(self, results: list[_Image]) -> dict[str, float]:
        """Add everything up into ``found``.

        Args:
            results: of all images.

        Returns:
            Nothing: scores are the business of the config's own metrics.
        """
        classes = class_names(self.dataset_meta, type(self).__name__)
        size = len(classes)
        confusion, edges, bins = (
            np.zeros(size * (size + 1), np.int64),
            np.zeros(3 * size, np.int64),
            np.zeros((3, BINS)),
        )
        for image in results:
            confusion[image.cells] += image.counts
            edges[image.edge_cells] += image.edge_counts
            bins += 0 if image.bins is None else image.bins
        matrix = confusion.reshape(size, size + 1)
        uncalibrated = sum(image.bins is None for image in results)
        palette = (self.dataset_meta or {}).get("palette")
        pictured = [image for image in results if image.picture]
        worst = sorted(pictured, key=_worst_first)[: self.num_pictures]
        best = [image for image in sorted(pictured, key=_best_first)[: self.num_pictures] if image not in worst]
        self.found = {
            "classes": classes,
            "palette": [[int(v) for v in colour] for colour in palette] if palette is not None else None,
            "num_images": len(results),
            "num_unlabelled": sum(not image.iou for image in results),
            "confusion": matrix[:, :size].tolist(),
            "outside": matrix[:, size].tolist(),
            "boundary": dict(zip(("both", "predicted", "labelled"), edges.reshape(3, size).tolist(), strict=True)),
            "boundary_ratio": DILATION_RATIO,
            "calibration": None
            if uncalibrated == len(results)
            else dict(zip(("count", "confidence", "right"), bins.tolist(), strict=True)),
            "num_uncalibrated": uncalibrated,
            "worst": [_as_json(image) for image in worst],
            "best": [_as_json(image) for image in best],
        }
        return {}

    def evaluate(self, size: int) -> dict[str, float]:
        """Meet the other processes; see :meth:`CountingMetric.evaluate`."""
        scores = super().evaluate(size)
        self._worst, self._best = [], []
        return scores

    def _count(self, sample: Any, pred: Tensor, num_classes: int) -> _Image:
        confusion, label_area, _ = sample_confusion(sample, pred, num_classes, self.ignore_index)
        with_outside = np.concatenate([confusion, (label_area - confusion.sum(1))[:, None]], axis=1)
        cells, counts = _not_zero(with_outside.ravel())
        label = label_map_of(sample, "gt_sem_seg")
        edges = boundary_areas(pred.cpu().numpy(), label.cpu().numpy(), num_classes, self.ignore_index).ravel()
        edge_cells, edge_counts = _not_zero(edges)
        scores = scores_from_areas(confusion.diagonal(), confusion.sum(0), label_area, ("mIoU",))
        return _Image(
            path=file_of(sample),
            cells=cells,
            counts=counts,
            edge_cells=edge_cells,
            edge_counts=edge_counts,
            bins=self._reliability(sample, pred, label),
            iou={int(c): float(scores["IoU"][c]) for c in np.flatnonzero(label_area)},
            accuracy=float(scores["aAcc"]),
        )

    def _reliability(self, sample: Any, pred: Tensor, label: Tensor) -> np.ndarray | None:
        logits = sample.get("seg_logits")
        if logits is None:
            return None
        logits = torch.as_tensor(logits["data"] if isinstance(logits, Mapping) else logits.data)
        if logits.shape[1:] != label.shape:
            return None
        return reliability(logits, pred, label, self.ignore_index).numpy()

    def _is_extreme(self, image: _Image) -> bool:
        """Put the image among the worst and best so far; the pictures of those that leave both are given up."""
        for extremes, order in ((self._worst, _worst_first), (self._best, _best_first)):
            extremes.append(image)
            extremes.sort(key=order)
            if len(extremes) > self.num_pictures:
                left = extremes.pop()
                if left not in self._worst and left not in self._best:
                    left.picture = {}
        return image in self._worst or image in self._best

    def _photograph(self, path: str) -> np.ndarray | None:
        from mmcv.image import imfrombytes
        from mmengine.fileio import get

        try:
            return imfrombytes(get(path, backend_args=self.backend_args))
        except (OSError, ValueError):  # a report without a photograph is better than none
            return None


def _not_zero(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places and values of what is not zero in (n,) counts, in few bytes: they are kept for every image."""
    places = np.flatnonzero(counts)
    return places.astype(np.min_scalar_type(len(counts))), counts[places].astype(np.uint32)


def _take_picture(
    photograph: np.ndarray | None, label: np.ndarray, pred: np.ndarray, num_classes: int, size: int
) -> dict[str, Any]:
    """Small files of one image: ``photograph`` as JPEG (None if there is none), ``truth`` and ``prediction`` as PNG of
    class indices, in which ``num_classes`` stands for what is no class.
    """
    height, width = label.shape
    scale = min(1.0, size / max(height, width))
    small = max(1, round(width * scale)), max(1, round(height * scale))
    kind = np.uint8 if num_classes < 256 else np.uint16

    def index_map(labels: np.ndarray) -> bytes:
        known = np.where((labels < 0) | (labels >= num_classes), num_classes, labels).astype(kind)
        return _encoded(".png", cv2.resize(known, small, interpolation=cv2.INTER_NEAREST_EXACT), [])

    photo = None
    if photograph is not None:
        reduced = cv2.resize(photograph, small, interpolation=cv2.INTER_AREA)
        photo = _encoded(".jpg", reduced, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return {"photograph": photo, "truth": index_map(label), "prediction": index_map(pred)}


def _encoded(suffix: str, pixels: np.ndarray, options: list[int]) -> bytes:
    done, data = cv2.imencode(suffix, pixels, options)
    if not done:
        raise DataError(f"a picture of shape {pixels.shape} cannot be written as {suffix}")
    return data.tobytes()


def _as_json(image: _Image) -> dict[str, Any]:
    from base64 import b64encode

    files = {name: None if data is None else b64encode(data).decode() for name, data in image.picture.items()}
    return {
        "path": image.path,
        "score": image.score,
        "accuracy": image.accuracy,
        "iou": list(image.iou.items()),
        **files,
    }
