"""What a report shows, as plain values. Shares and scores are from 0 to 1; None stands for what is undefined."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Curve:
    """A quantity over a training.

    Attributes:
        name: as in the log.
        steps: iterations, ascending.
        values: as many; None where the value was not finite.
    """

    name: str
    steps: tuple[int, ...]
    values: tuple[float | None, ...]

    def thinned(self, points: int = 800) -> Curve:
        """At most ``points`` of the curve, such that it looks the same: the extremes and gaps of equal pieces stay."""
        if len(self.steps) <= points:
            return self
        kept: set[int] = {0, len(self.steps) - 1}
        for piece in np.array_split(np.arange(len(self.steps)), max(1, (points - 2) // 3)):
            gaps = [int(i) for i in piece if self.values[i] is None]
            finite = [int(i) for i in piece if self.values[i] is not None]
            kept.update(gaps[:1])
            if finite:
                kept |= {min(finite, key=self._value), max(finite, key=self._value)}
        order = sorted(kept)
        return Curve(self.name, tuple(self.steps[i] for i in order), tuple(self.values[i] for i in order))

    def _value(self, index: int) -> float:
        value = self.values[index]
        return math.nan if value is None else value


@dataclass(frozen=True)
class Training:
    """What the log of a training says.

    Attributes:
        losses, rates, scores: curves.
        resumed: iterations at which the run was taken up again.
        not_finite: iterations with a loss that was not finite.
    """

    losses: tuple[Curve, ...] = ()
    rates: tuple[Curve, ...] = ()
    scores: tuple[Curve, ...] = ()
    resumed: tuple[int, ...] = ()
    not_finite: tuple[int, ...] = ()


@dataclass(frozen=True)
class ClassScores:
    """Scores of one class.

    Attributes:
        name: of the class.
        iou, accuracy, boundary_iou: scores.
        share: of the labelled pixels.
    """

    name: str
    iou: float | None = None
    accuracy: float | None = None
    boundary_iou: float | None = None
    share: float | None = None


@dataclass(frozen=True)
class Calibration:
    """A reliability diagram.

    Attributes:
        count: pixels in each bin of confidence.
        confidence: sum of their confidences.
        right: how many of them were right.
    """

    count: tuple[float, ...]
    confidence: tuple[float, ...]
    right: tuple[float, ...]

    @property
    def error(self) -> float:
        """Expected calibration error: the mean over pixels of their bin's |accuracy - mean confidence|."""
        gaps = sum(abs(r - c) for r, c in zip(self.right, self.confidence, strict=True))
        return gaps / sum(self.count) if sum(self.count) else math.nan


@dataclass(frozen=True)
class Picture:
    """One image, small.

    Attributes:
        path: of the photograph.
        score: mean IoU of the classes in its ground truth.
        accuracy: share of its labelled pixels that are right.
        iou: index of a class in its ground truth -> IoU.
        photograph: a JPEG file; None when it could not be read.
        truth, prediction: PNG files of class indices, (h, w); an index beyond the classes is no class.
    """

    path: str
    score: float
    accuracy: float
    iou: Mapping[int, float]
    photograph: bytes | None
    truth: bytes
    prediction: bytes


@dataclass(frozen=True)
class Evaluation:
    """What a test or a validation found.

    Attributes:
        subject: words for what was evaluated.
        classes: in the order of the data set.
        palette: RGB of each class; None for colours made up.
        confusion: (C, C) pixels, row: true class; None where only scores are left.
        outside: labelled pixels whose prediction is no class.
        calibration: None without probabilities.
        worst, best: images.
        num_images, num_unlabelled, num_uncalibrated: images in all, without a labelled pixel, without probabilities.
        boundary_ratio: width of the band of Boundary IoU as a share of the diagonal.
    """

    subject: str
    classes: tuple[ClassScores, ...]
    palette: tuple[tuple[int, int, int], ...] | None = None
    confusion: np.ndarray | None = None
    outside: int = 0
    calibration: Calibration | None = None
    worst: tuple[Picture, ...] = ()
    best: tuple[Picture, ...] = ()
    num_images: int | None = None
    num_unlabelled: int = 0
    num_uncalibrated: int = 0
    boundary_ratio: float | None = None

    def mean(self, score: str) -> float | None:
        """Mean of a score over the classes for which it is defined, such as ``mean("iou")``; None without any."""
        values = [getattr(c, score) for c in self.classes]
        defined = [v for v in values if v is not None]
        return sum(defined) / len(defined) if defined else None

    @property
    def accuracy(self) -> float | None:
        """Share of the labelled pixels that are right."""
        if self.confusion is None:
            return None
        total = int(self.confusion.sum()) + self.outside
        return float(self.confusion.trace() / total) if total else None


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        name: for headings.
        training, evaluation: None where nothing was left of it.
        config: its text.
        speed, environment: name -> words.
        notes: sentences about what is missing.
    """

    name: str
    training: Training | None = None
    evaluation: Evaluation | None = None
    config: str | None = None
    speed: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
