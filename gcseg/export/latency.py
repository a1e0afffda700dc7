"""How long one image takes: gcseg's ways of running a model beside the files that are exported from it."""

from __future__ import annotations

import copy
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from gcseg.analysis.cost_timing import interleaved_seconds
from gcseg.export.deployable import Deployable
from gcseg.export.export import export_model
from gcseg.export.formats import FORMATS, ExportedModel, require_packages, require_torch
from gcseg.utils.errors import ExportError
from gcseg.utils.names import unknown_name_message
from gcseg.utils.progress import announced

if TYPE_CHECKING:
    from mmengine.config import Config

_IN_GCSEG = ("eager", "prepared", "compiled")
CONTESTANTS = (*_IN_GCSEG, "torch-export", "torchscript", "onnx", "onnx-int8")


@dataclass(frozen=True)
class Latency:
    """One contestant at one size.

    Attributes:
        contestant: its name.
        shape: (H, W) of the image.
        median: seconds from the pixels to the classes.
        quartiles: of the seconds, the first and the third.
        equal: share of the pixels whose class is that of the first contestant.
        bytes: size of the file; 0 for what is none.
    """

    contestant: str
    shape: tuple[int, int]
    median: float
    quartiles: tuple[float, float]
    equal: float
    bytes: int


@dataclass(frozen=True)
class LatencyReport:
    """A table of all of them."""

    rows: list[Latency]
    rounds: int
    threads: int

    def as_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        return {**asdict(self), "torch": torch.__version__}

    def __str__(self) -> str:
        lines = [
            f"one image, {self.threads} threads, median of {self.rounds} rounds (quartiles); equal: share of the "
            "pixels with the class of the first row",
            "",
            "| | size | ms | times the first | file | equal |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        first = {row.shape: row.median for row in reversed(self.rows)}
        for row in self.rows:
            low, high = (1000 * q for q in row.quartiles)
            lines.append(
                f"| {row.contestant} | {row.shape[0]}x{row.shape[1]} | {1000 * row.median:.1f} ({low:.1f} to "
                f"{high:.1f}) | {first[row.shape] / row.median:.2f} | "
                f"{f'{row.bytes / 1e6:.1f} MB' if row.bytes else ''} | {row.equal:.2%} |"
            )
        return "\n".join(lines)


def measure_latency(
    config: str | os.PathLike | Config,
    checkpoint: str | os.PathLike | None = None,
    shapes: Sequence[Sequence[int]] = ((512, 1024),),
    *,
    contestants: Sequence[str] = CONTESTANTS,
    rounds: int = 10,
    threads: int | None = None,
    num: int = 16,
    calibration_images: Any = None,
    cfg_options: dict[str, Any] | None = None,
) -> LatencyReport:
    """Time the ways of running a model on the CPU, from uint8 pixels to classes, one image at a time.

    Each contestant runs once to warm up, or for as long as compiling takes; then each runs once per round, in an order
    that is reversed every other round, so that a slow minute of the machine is shared by all. One that cannot run here
    raises and is not left out.

    Args:
        config: a path, the name of a packaged recipe, or a ``Config``.
        checkpoint: the weights; None leaves them random, which takes the same time.
        shapes: (H, W) of the images.
        contestants: any of :data:`CONTESTANTS`; the first is what the others are compared with. ``"eager"`` is the
            model as it is trained, ``"prepared"`` what ``SegInferencer`` and the test command use.
        rounds: timed runs of each.
        threads: for torch and ONNX Runtime alike; all cores by default.
        num: images to take the ranges of ``"onnx-int8"`` from.
        calibration_images: see :func:`~gcseg.export.quantize_model`.
        cfg_options: overrides of the config with dotted keys.

    Raises:
        ExportError: an unknown contestant, or a file that cannot be written.
        ConfigError, CheckpointError: what cannot be used.
    """
    from gcseg.apis.inference import init_model

    for name in contestants:
        if name not in CONTESTANTS:
            raise ExportError(unknown_name_message("contestant", str(name), CONTESTANTS))
        if name not in _IN_GCSEG:
            require_packages(name.removesuffix("-int8"))
            require_torch(name.removesuffix("-int8"))
    if rounds < 1 or not contestants or any(len(shape) != 2 or min(shape) < 1 for shape in shapes):
        raise ExportError(f"rounds={rounds}, contestants={list(contestants)}, shapes={list(shapes)}: nothing to time")
    if threads is not None and threads < 1:
        raise ExportError(f"threads={threads}: at least one computes; leave it out for all cores")
    count = threads or len(os.sched_getaffinity(0))
    model = init_model(config, checkpoint, device="cpu", cfg_options=cfg_options)
    with _torch_threads(count), tempfile.TemporaryDirectory(prefix="gcseg_latency_") as folder:
        options = dict(calibration_images=calibration_images, num=num)
        runners = dict(_runners(model, contestants, Path(folder), count, options))
        equal: dict[tuple[str, int], float] = {}
        images = [Deployable(model).example(1, h, w).numpy() for h, w in shapes]
        for place, image in enumerate(images):
            with announced(f"warming up at {image.shape[1]}x{image.shape[2]}"):
                labels = {name: np.asarray(run(image)) for name, (run, _) in runners.items()}
            reference = next(iter(labels.values()))
            equal.update({(name, place): float((found == reference).mean()) for name, found in labels.items()})
        works = {
            (name, place): partial(run, image)
            for name, (run, _) in runners.items()
            for place, image in enumerate(images)
        }
        seconds = interleaved_seconds(works, rounds, 0, torch.device("cpu"), "latency")
    rows = []
    for place, (height, width) in enumerate(shapes):
        for name, (_, size) in runners.items():
            times = seconds[name, place]
            quartiles = statistics.quantiles(times, n=4) if len(times) > 1 else times * 3
            median = statistics.median(times)
            rows.append(Latency(name, (height, width), median, (quartiles[0], quartiles[2]), equal[name, place], size))
    return LatencyReport(rows, rounds, count)


def _runners(
    model: nn.Module, contestants: Sequence[str], folder: Path, threads: int, quantizing: dict[str, Any]
) -> Iterator[tuple[str, tuple[Callable[[np.ndarray], Any], int]]]:
    """Name, function from (1, H, W, C) uint8 to (1, H, W) classes, and size of its file."""
    from gcseg.engine.preparation import prepare_for_inference
    from gcseg.export.quantize import quantize_model

    for name in contestants:
        if name in _IN_GCSEG:
            copied = copy.deepcopy(model)
            if name != "eager":
                prepare_for_inference(copied, compile=name == "compiled")
            yield name, (_through_gcseg(copied), 0)
            continue
        kind = name.removesuffix("-int8")
        file = folder / f"model{FORMATS[kind].suffix}"
        if not file.exists():  # "onnx" and "onnx-int8" share one
            export_model(model, out=file, format=kind)
        if name != kind:
            file = quantize_model(model.cfg, file, folder / "int8.onnx", evaluate=False, **quantizing).file
        yield name, (ExportedModel(file, threads), file.stat().st_size)


def _through_gcseg(model: nn.Module) -> Callable[[np.ndarray], np.ndarray]:
    def run(image: np.ndarray) -> np.ndarray:
        planes = torch.from_numpy(image).permute(0, 3, 1, 2)
        planes = planes.flip(1) if planes.shape[1] == 3 else planes  # as OpenCV reads
        with torch.no_grad():
            samples = model.test_step(dict(inputs=list(planes.contiguous())))
        return torch.stack([sample.pred_sem_seg.data[0] for sample in samples]).numpy()

    return run


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
