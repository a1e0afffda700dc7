"""Weights of the classes for the cross-entropy, from how often they occur in a data set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gcseg.analysis.labels import build_datasets, class_counts
from gcseg.utils.errors import ConfigError
from gcseg.utils.names import unknown_name_message
from gcseg.utils.progress import progress

if TYPE_CHECKING:
    from mmengine.config import Config

METHODS = ("inverse", "median", "effective")


@dataclass(frozen=True)
class ClassFrequencies:
    """How often classes occur.

    Attributes:
        classes: names, C of them.
        pixels: of each class, (C,) int64; ignored pixels are in none.
        pixels_where: labelled pixels of the images that have the class, (C,) int64.
        images: number of images that have the class, (C,) int64.
    """

    classes: tuple[str, ...]
    pixels: np.ndarray
    pixels_where: np.ndarray
    images: np.ndarray


@dataclass(frozen=True)
class ClassWeights:
    """Weights and what they come from."""

    frequencies: ClassFrequencies
    method: str
    weights: np.ndarray

    def __str__(self) -> str:
        found = self.frequencies
        width = max(map(len, [*found.classes, "class"]))
        lines = [f"{'class':{width}}  {'images':>8}  {'pixels, %':>9}  {'weight':>9}"]
        share = 100 * found.pixels / max(1, found.pixels.sum())
        for row in zip(found.classes, found.images, share, self.weights, strict=True):
            lines.append(f"{row[0]:{width}}  {row[1]:8d}  {row[2]:9.4f}  {row[3]:9.4f}")
        absent = [name for name, n in zip(found.classes, found.pixels, strict=True) if not n]
        if absent:
            lines.append(f"without a pixel, so that their weight has no effect: {', '.join(absent)}")
        lines.append(f"class_weight=[{', '.join(f'{w:.4g}' for w in self.weights)}]")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        found = self.frequencies
        return {
            "classes": list(found.classes),
            "method": self.method,
            "images": found.images.tolist(),
            "pixels": found.pixels.tolist(),
            "class_weight": self.weights.tolist(),
        }


def class_weights(
    config: str | os.PathLike | Config,
    method: str = "median",
    beta: float | None = None,
    normalise: bool = True,
    maximum: float | None = None,
    split: str = "train",
    cfg_options: dict[str, Any] | None = None,
) -> ClassWeights:
    """Count the labels of a data set, and make weights of the counts.

    Args:
        config: a path, the name of a packaged recipe, or a ``Config``.
        method, beta, normalise, maximum: see :func:`weights_of`.
        split: whose labels: train, val or test. Repetitions by wrappers are not counted.
        cfg_options: overrides with dotted keys.

    Raises:
        ConfigError: an option is wrong, or the data set has no labels.
        DataError: a label cannot be read.
    """
    _check(method, beta, maximum)
    frequencies = count_classes(build_datasets(config, split, cfg_options))
    return ClassWeights(frequencies, method, weights_of(frequencies, method, beta, normalise, maximum))


def count_classes(datasets: Sequence[Any]) -> ClassFrequencies:
    """Read all labels of data sets with the same classes.

    Raises:
        ConfigError: their classes differ.
        DataError: a label cannot be read.
    """
    classes = tuple(datasets[0].metainfo["classes"])
    if any(tuple(d.metainfo["classes"]) != classes for d in datasets):
        raise ConfigError("the data sets of this split differ in their classes; count them one by one")
    total = np.zeros((3, len(classes)), dtype=np.int64)
    counts = (found for dataset in datasets for found in class_counts(dataset))
    for found in progress(counts, total=sum(map(len, datasets)), desc="counting", unit="label"):
        present = found > 0
        total += np.stack([found, present * found.sum(), present])
    return ClassFrequencies(classes, *total)


def weights_of(
    frequencies: ClassFrequencies,
    method: str = "median",
    beta: float | None = None,
    normalise: bool = True,
    maximum: float | None = None,
) -> np.ndarray:
    """Weights of the classes.

    With n_c pixels of class c, N of all, and f_c = n_c / (pixels of the images that have class c):

    * ``inverse``: N / (C n_c), over the C classes that occur.
    * ``median``: median(f) / f_c (Eigen and Fergus 2015, median frequency balancing).
    * ``effective``: (1 - beta) / (1 - beta ** n_c) (Cui et al. 2019, eq. 3).

    Args:
        frequencies: what was counted.
        method: one of these.
        beta: of ``effective``, from 0 (all weights the same) to below 1; (N - 1) / N by default, as in the paper.
        normalise: scale them so that their mean over the labelled pixels is one; the loss then keeps its size, because
            its mean divides by the number of pixels, and so the learning rate may stay.
        maximum: no weight above this one, before ``normalise``.

    Returns:
        (C,) float64; 1 for a class without a pixel.

    Raises:
        ConfigError: an option is wrong, or there is not one labelled pixel.
    """
    _check(method, beta, maximum)
    n = frequencies.pixels.astype(np.float64)
    there = n > 0
    if not there.any():
        raise ConfigError("no pixel is labelled with a class; `gcseg check` says what the labels hold")
    weights = np.ones_like(n)
    if method == "inverse":
        weights[there] = n.sum() / (there.sum() * n[there])
    elif method == "median":
        f = n[there] / frequencies.pixels_where[there]
        weights[there] = np.median(f) / f
    else:
        log_beta = np.log1p(-1 / n.sum()) if beta is None else np.log(beta) if beta else -np.inf
        weights[there] = np.expm1(log_beta) / np.expm1(log_beta * n[there])
    if maximum is not None:
        weights = weights.clip(max=maximum)
    if normalise:
        weights[there] *= n.sum() / (n * weights).sum()
    return weights


def _check(method: str, beta: float | None, maximum: float | None) -> None:
    if method not in METHODS:
        raise ConfigError(unknown_name_message("method", method, METHODS))
    if beta is not None and (method != "effective" or not 0 <= beta < 1):
        raise ConfigError(f"beta={beta}: a number from 0 to below 1, for method='effective' alone")
    if maximum is not None and maximum <= 0:
        raise ConfigError(f"maximum={maximum}: a positive number")
