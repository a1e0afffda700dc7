"""An ONNX file whose convolutions work on 8-bit integers, and what that costs in accuracy."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gcseg.config import load_config
from gcseg.config_build import built_from
from gcseg.export.export import checked_target, export_model, put
from gcseg.export.formats import ExportedModel, first_line, require_packages
from gcseg.utils.errors import ConfigError, DataError, ExportError, GcsegError
from gcseg.utils.names import unknown_name_message
from gcseg.utils.progress import announced, progress

if TYPE_CHECKING:
    from mmengine.config import Config

METHODS = ("minmax", "moving-average", "entropy", "percentile")
# Between convolutions these keep the numbers in 8 bits; attention, softmax and resizing stay in float32.
_OPERATORS = ("Conv", "Add", "Concat", "MaxPool", "Relu")
#: Parts of the network that stay in float32: see docs/deployment.md for what each of them costs and gains.
DEFAULT_EXCLUDE = ("decode_head.gc_block", "decode_head.conv_seg")


@dataclass
class QuantizationReport:
    """A file before and after.

    Attributes:
        file: the file in 8 bits.
        source: the one in float32.
        convolutions: how many there are.
        quantized: how many of them are in 8 bits.
        images: how many images the ranges were taken from.
        bytes: size of the source and of the file.
        scores: of the source and of the file on the config's validation data; empty when not evaluated.
    """

    file: Path
    source: str
    convolutions: int
    quantized: int
    images: int
    bytes: tuple[int, int]
    scores: tuple[dict[str, float], dict[str, float]] | tuple[()] = ()

    def as_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        return asdict(self)

    def __str__(self) -> str:
        names = list(self.scores[0]) if self.scores else []
        rows = [["", "size", *names]]
        for i, label in enumerate(("float32", "8 bits")):
            values = [f"{self.scores[i][name]:.2f}" for name in names] if self.scores else []
            rows.append([label, f"{self.bytes[i] / 1e6:.1f} MB", *values])
        table = ["| " + " | ".join(row) + " |" for row in rows]
        table.insert(1, "| " + " | ".join(["---"] * len(rows[0])) + " |")
        return "\n".join(
            [
                f"{self.file}: {self.quantized} of {self.convolutions} convolutions in 8 bits, ranges from "
                f"{self.images} images",
                "",
                *table,
            ]
        )


def quantize_model(
    config: str | os.PathLike | Config,
    model: str | os.PathLike,
    out: str | os.PathLike | None = None,
    *,
    calibration_images: str | os.PathLike | Sequence | None = None,
    num: int = 64,
    method: str = "minmax",
    exclude: Sequence[str] = DEFAULT_EXCLUDE,
    evaluate: bool = True,
    threads: int | None = None,
    cfg_options: dict[str, Any] | None = None,
) -> QuantizationReport:
    """Quantize a model after its training, from the ranges that its activations have on some images.

    Weights are of 8 bits with one scale per channel, activations of 8 bits with one scale per tensor. Images go
    through the config's test pipeline.

    Args:
        config: a path, the name of a packaged recipe, or a ``Config``.
        model: a checkpoint, or an ``.onnx`` file in float32 of :func:`~gcseg.export.export_model`.
        out: the file; by default ``<name of the model>_int8.onnx`` in the current folder.
        calibration_images: a folder of images, or a list; by default training images of the config, without
            augmentation and at equal distances.
        num: how many of them.
        method: how a range follows from the values: ``"minmax"``: all of them; ``"moving-average"``: of the extremes;
            ``"entropy"`` and ``"percentile"``: without outliers.
        exclude: parts that stay in float32, by the beginning of their name in the model.
        evaluate: score both files on the config's validation data.
        threads: for ONNX Runtime; all cores by default.
        cfg_options: overrides of the config with dotted keys.

    Raises:
        ExportError: what cannot be quantized and why.
        ConfigError, CheckpointError, DataError: what cannot be used.
    """
    require_packages("onnx")
    if method not in METHODS:
        raise ExportError(unknown_name_message("method", str(method), METHODS))
    if num < 1 or (threads is not None and threads < 1):
        raise ExportError(f"num={num}, threads={threads}: ranges come from at least one image, on at least one thread")
    cfg = load_config(config, cfg_options)
    needed = ["model", *(["val_dataloader", "val_evaluator"] if evaluate else [])]
    for key in needed:
        if not cfg.get(key):
            raise ConfigError(f"{cfg.filename or 'the config'}: no `{key}`, which quantizing needs")
    target = checked_target(out, f"{Path(model).stem}_int8", ".onnx")
    if target.resolve() == Path(model).resolve():
        raise ExportError(f"{target}: the file in 8 bits would take the place of the one in float32; give another out")
    from gcseg.engine.hardware import adapt_config_for_hardware

    adapt_config_for_hardware(cfg, world_size=1)
    images = _calibration_images(cfg, calibration_images, num)
    with tempfile.TemporaryDirectory(prefix="gcseg_quantize_") as folder:
        source = Path(model)
        if source.suffix != ".onnx":
            source = export_model(cfg, model, Path(folder) / "float32.onnx").file
        before = ExportedModel(source, threads)
        if before.fact("precision") != "float32" or before.metadata.get("input") not in ("image", "normalised"):
            raise ExportError(f"{source}: not a file in float32 of gcseg's export; make one with --format onnx")
        file = Path(folder) / target.name
        counts = _quantize(before, file, cfg, images, method, exclude)
        after = ExportedModel(file, threads)
        sizes = source.stat().st_size, file.stat().st_size
        report = QuantizationReport(target, str(model), *counts, len(images), sizes)
        if evaluate:
            from gcseg.export.evaluate import evaluate_exported

            scores = [evaluate_exported(one, cfg, desc) for one, desc in ((before, "float32"), (after, "8 bits"))]
            report.scores = scores[0], scores[1]
        put(file, target)
    return report


def _calibration_images(cfg: Config, images: Any, num: int) -> list[Any]:
    """``num`` of the images, at equal distances.

    Raises:
        ConfigError: the config has no images to take.
        DataError: there is not one image.
    """
    from gcseg.apis.images import list_inputs

    if images is not None:
        found = list_inputs(images)
    else:
        from mmengine.registry import DefaultScope

        from gcseg.registry import DATASETS, SCOPE

        loader = cfg.get("train_dataloader") or cfg.get("val_dataloader")
        if not loader:
            raise ConfigError(
                f"{cfg.filename or 'the config'}: no `train_dataloader` to take images from; give a folder of images "
                "(--calibration-images)"
            )
        with DefaultScope.overwrite_default_scope(SCOPE), built_from(cfg):
            dataset = DATASETS.build(loader.dataset)
        found = [dataset.get_data_info(i)["img_path"] for i in range(len(dataset))]
    if not found:
        raise DataError("quantizing takes the ranges of the activations from images, and was given none")
    places = np.linspace(0, len(found) - 1, min(num, len(found))).round().astype(int)
    return [found[i] for i in places]


def _quantize(
    source: ExportedModel, file: Path, cfg: Config, images: Sequence, method: str, exclude: Sequence[str]
) -> tuple[int, int]:
    """Write ``file``; gives the number of convolutions, and of those in 8 bits."""
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    network = onnx.load(str(source.file))
    convolutions = {node.name: node.input[1] for node in network.graph.node if node.op_type == "Conv"}
    kept = _excluded(convolutions, exclude)
    # By strides of one image, so that activations of one alone are in memory, and images may differ in size. (The
    # option for that, CalibMaxIntermediateOutputs, forgets the data in onnxruntime 1.32.) An average needs them in one.
    options = dict(CalibMovingAverage=True) if method == "moving-average" else dict(CalibStridedMinMax=1)
    kind = dict(entropy=CalibrationMethod.Entropy, percentile=CalibrationMethod.Percentile)
    prepared = file.with_name("prepared.onnx")
    try:
        with announced("preparing"), contextlib.redirect_stdout(io.StringIO()):
            # Not optimized: that would rename what `exclude` speaks of, and the runtime does it anyway.
            quant_pre_process(str(source.file), str(prepared), skip_optimization=True)
        with contextlib.redirect_stdout(io.StringIO()):
            quantize_static(
                str(prepared),
                str(file),
                _Reader(source, cfg, images),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(_OPERATORS),
                nodes_to_exclude=kept,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=kind.get(method, CalibrationMethod.MinMax),
                extra_options=options,
            )
    except GcsegError:  # of an image, or of the file
        raise
    except Exception as e:  # whatever ONNX Runtime runs into
        raise ExportError(f"{source.file} cannot be quantized: {first_line(e)}") from e
    written = onnx.load(str(file))
    onnx.helper.set_model_props(written, {**source.metadata, "precision": "int8"})
    onnx.checker.check_model(written)
    onnx.save(written, str(file))
    return len(convolutions), len(convolutions) - len(kept)


def _excluded(convolutions: dict[str, str], exclude: Sequence[str]) -> list[str]:
    """Names of the nodes whose weights belong to one of the parts."""
    parts = {node: weight.removeprefix("network.").removesuffix(".weight") for node, weight in convolutions.items()}
    kept = []
    for part in exclude:
        found = [node for node, name in parts.items() if f"{name}.".startswith(f"{part}.")]
        if not found and part not in DEFAULT_EXCLUDE:
            raise ExportError(unknown_name_message("part in exclude", part, parts.values()))
        kept += found
    return sorted(set(kept))


class _Reader:
    """Calibration data as ONNX Runtime asks for them: by ranges, one batch of one image after the other."""

    def __init__(self, source: ExportedModel, cfg: Config, images: Sequence) -> None:
        from gcseg.apis.images import build_preparation
        from gcseg.export.evaluate import input_maker

        self._images = images
        self._prepare, self._as_input = build_preparation(cfg), input_maker(source, cfg)
        self._bar: Any = progress(total=len(images), desc="calibrating", unit="image")
        self._stop, self._place = len(images), 0

    def __len__(self) -> int:
        return len(self._images)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Give the images of this range next."""
        self._place, self._stop = start_index, end_index

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch; None after the last of the range."""
        self._bar.update(self._place - self._bar.n)
        if self._place == self._stop:
            if self._place == len(self._images):
                self._bar.close()
            return None
        self._place += 1
        return {"image": self._as_input(self._prepare(self._images[self._place - 1])["inputs"])}
