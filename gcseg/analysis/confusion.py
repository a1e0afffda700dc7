"""Which class was taken for which, counted pixel by pixel."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gcseg.analysis.labels import LabelReader, build_datasets
from gcseg.analysis.plots import new_figure, save_figure
from gcseg.config import load_config, require
from gcseg.utils.atomic import write_atomically
from gcseg.utils.errors import ConfigError, DataError
from gcseg.utils.names import unknown_name_message
from gcseg.utils.progress import progress

if TYPE_CHECKING:
    from mmengine.config import Config

FORMS = ("test", "index", "cityscapes")


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix.

    Attributes:
        classes: names, C of them.
        counts: pixels, (C, C) int64; row: true class, column: predicted class. Ignored pixels are in none.
        outside: labelled pixels of each true class whose prediction is no class, (C,) int64.
        images: how many images were counted.
    """

    classes: tuple[str, ...]
    counts: np.ndarray
    outside: np.ndarray
    images: int

    def shares(self) -> np.ndarray:
        """Row by row the share of each predicted class, (C, C) float64; NaN for a class without a pixel."""
        with np.errstate(invalid="ignore"):
            return self.counts / (self.counts.sum(1) + self.outside)[:, None].astype(np.float64)

    def __str__(self) -> str:
        """The twenty mistakes with the most pixels."""
        wrong = self.counts.copy()
        np.fill_diagonal(wrong, 0)
        total, shares = int(self.counts.sum() + self.outside.sum()), self.shares()
        lines = [f"{self.images} images, {total} labelled pixels, {self.counts.trace() / max(1, total):.2%} right"]
        width = max(map(len, [*self.classes, "true class"]))
        lines.append(f"{'true class':{width}}  {'taken for':{width}}  {'pixels':>12}  of the class")
        for place in wrong.ravel().argsort(kind="stable")[::-1][:20]:
            i, j = divmod(int(place), len(self.classes))
            if wrong[i, j]:
                lines.append(
                    f"{self.classes[i]:{width}}  {self.classes[j]:{width}}  {wrong[i, j]:12d}  {shares[i, j]:12.2%}"
                )
        if self.outside.any():
            lines.append(f"{int(self.outside.sum())} pixels were predicted as no class of the data set")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        return {
            "classes": list(self.classes),
            "images": self.images,
            "counts": self.counts.tolist(),
            "outside": self.outside.tolist(),
        }

    def save_csv(self, path: str | os.PathLike) -> None:
        """Write the counts as text: the first row and column are the names."""
        lines = [["true \\ predicted", *self.classes, "no class"]]
        rows = zip(self.classes, self.counts, self.outside, strict=True)
        lines += [[name, *map(str, row), str(outside)] for name, row, outside in rows]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(lines)
        write_atomically(Path(path).expanduser(), text.getvalue().encode())

    def plot(self, path: str | os.PathLike, title: str = "Confusion matrix, % of the true class") -> Path:
        """Draw the shares in percent; the suffix of the file says the format.

        Raises:
            ConfigError: matplotlib is not installed, or there is no such format.
        """
        count = len(self.classes)
        side = max(4.0, 0.42 * count + 2)
        figure = new_figure(side + 1, side)
        axes = figure.add_subplot(title=title, xlabel="predicted", ylabel="true")
        shares = 100 * self.shares()
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
        figure.colorbar(image, ax=axes, shrink=0.8)
        axes.set_xticks(range(count), self.classes, rotation=90)
        axes.set_yticks(range(count), self.classes)
        if count <= 40:  # beyond, numbers would not be read
            for i, j in np.argwhere(shares >= 0.5):
                colour = "white" if shares[i, j] > 50 else "black"
                axes.text(j, i, f"{shares[i, j]:.0f}", ha="center", va="center", color=colour, fontsize=7)
        return save_figure(figure, path)


def confusion_of_folder(
    config: str | os.PathLike | Config,
    folder: str | os.PathLike,
    form: str = "test",
    cfg_options: dict[str, Any] | None = None,
) -> Confusion:
    """Compare the label images in a folder with the test data of a config.

    Every image of the data set is looked for by its own name, so that neither the order nor other files in the folder
    matter.

    Args:
        config: a path, the name of a packaged recipe, or a ``Config``.
        folder: of the predictions, ``<name of the image>.png``, there or in the folders in it.
        form: ``test``: as ``gcseg test --out`` with IoUMetric writes them, for data sets with ``reduce_zero_label``
            (ADE20K) with 1 added; ``index``: class indices, as ``gcseg predict`` writes them; ``cityscapes``: label
            ids, as CityscapesMetric writes them.
        cfg_options: overrides with dotted keys.

    Raises:
        ConfigError: the config has no test data, or an unknown form.
        DataError: a prediction is missing or has another size; names the file.
    """
    if form not in FORMS:
        raise ConfigError(unknown_name_message("form of predictions", form, FORMS))
    datasets = build_datasets(config, "test", cfg_options)
    classes = tuple(datasets[0].metainfo["classes"])
    if any(tuple(d.metainfo["classes"]) != classes for d in datasets):
        raise ConfigError("the test data sets differ in their classes; count them one by one")
    files = _by_name(Path(folder))
    counts: np.ndarray = np.zeros((len(classes), len(classes)), dtype=np.int64)
    outside: np.ndarray = np.zeros(len(classes), dtype=np.int64)
    places = [(dataset, i) for dataset in datasets for i in range(len(dataset))]
    readers = {id(dataset): LabelReader(dataset) for dataset in datasets}
    for dataset, i in progress(places, desc="counting", unit="image"):
        item = readers[id(dataset)](i)
        pred = _read_prediction(files, Path(str(item["img_path"])).stem, Path(folder))
        pred = _to_index(pred, form, classes, dataset.reduce_zero_label)
        matrix, beyond = _count(item, pred, len(classes))
        counts += matrix
        outside += beyond
    return Confusion(classes, counts, outside, len(places))


def confusion_of_checkpoint(
    config: str | os.PathLike | Config,
    checkpoint: str | os.PathLike,
    cfg_options: dict[str, Any] | None = None,
    amp: bool = False,
) -> Confusion:
    """Run the test of a config, and compare what it predicts with the labels.

    Args:
        config, cfg_options: see :func:`confusion_of_folder`.
        checkpoint: a file, a URL, or the name of a file in the weights folder.
        amp: compute in bfloat16, or in float16 on older GPUs.

    Raises:
        GcsegError: what testing raises.
    """
    from tempfile import TemporaryDirectory

    from gcseg.apis.test import test

    cfg = load_config(config, cfg_options)
    require(cfg, ("test_dataloader", "test_evaluator"), "testing")
    evaluators = cfg.test_evaluator if isinstance(cfg.test_evaluator, list | tuple) else [cfg.test_evaluator]
    form = "cityscapes" if any(e.get("type") == "CityscapesMetric" for e in evaluators) else "test"
    with TemporaryDirectory() as folder:
        test(
            config,
            checkpoint,
            work_dir=Path(folder) / "run",
            out=Path(folder) / "out",
            cfg_options=cfg_options,
            amp=amp,
        )
        return confusion_of_folder(config, Path(folder) / "out", form, cfg_options)


def _by_name(folder: Path) -> dict[str, list[Path]]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    files: dict[str, list[Path]] = {}
    for file in sorted(folder.rglob("*.png")):
        files.setdefault(file.stem, []).append(file)
    return files


def _read_prediction(files: dict[str, list[Path]], name: str, folder: Path) -> np.ndarray:
    from PIL import Image

    found = files.get(name, [])
    if len(found) != 1:
        what = "no prediction" if not found else f"{len(found)} predictions ({found[0]}, {found[1]} ...)"
        advice = _inner(found, folder)
        raise DataError(
            f"{folder}: {what} of the image {name}; there must be one file {name}.png for each image{advice}"
        )
    try:
        with Image.open(found[0]) as image:
            array = np.asarray(image)
    except OSError as e:
        raise DataError(f"{found[0]}: cannot be read: {e}") from e
    if array.ndim != 2:
        raise DataError(f"{found[0]}: is a colour picture of shape {array.shape}; one number per pixel is needed")
    return array.astype(np.int64)


def _inner(found: Sequence[Path], folder: Path) -> str:
    """The advice to give a folder in ``folder`` that has one prediction, as gcseg predict leaves several."""
    tops = [file.relative_to(folder).parts[0] for file in found if file.parent != folder]
    single = [str(folder / top) for top in tops if tops.count(top) == 1]
    return f". Give {' or '.join(single)}; what gcseg predict writes is of --form index" if single else ""


def _to_index(pred: np.ndarray, form: str, classes: Sequence[str], reduce_zero_label: bool) -> np.ndarray:
    if form == "cityscapes":
        from gcseg.metainfo import CITYSCAPES_LABELS

        table: np.ndarray = np.full(2**16, -1, dtype=np.int64)
        for index, name in enumerate(classes):
            if name not in CITYSCAPES_LABELS:
                raise ConfigError(unknown_name_message("Cityscapes class", name, CITYSCAPES_LABELS))
            table[CITYSCAPES_LABELS.index(name)] = index
        return table[pred]
    return pred - 1 if form == "test" and reduce_zero_label else pred


def _count(item: dict[str, Any], pred: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    import torch

    from gcseg.evaluation.samples import sample_confusion

    sample = {**item, "gt_sem_seg": {"data": torch.from_numpy(np.asarray(item["gt_seg_map"]))}}
    matrix, label, _ = sample_confusion(sample, torch.from_numpy(pred), classes, item["ignore_index"])
    return matrix.numpy(), (label - matrix.sum(1)).numpy()
