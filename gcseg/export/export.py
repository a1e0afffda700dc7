"""A model written to a file for other programs, which is run and compared before it counts as written."""

from __future__ import annotations

import copy
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gcseg.config import image_shape
from gcseg.export.deployable import Deployable, describe
from gcseg.export.formats import DEFAULT_OPSET, FORMATS, ExportedModel, first_line, require_packages, require_torch
from gcseg.utils.errors import ExportError
from gcseg.utils.progress import announced
from gcseg.utils.writable import check_writable, writing

if TYPE_CHECKING:
    from mmengine.config import Config

TOLERANCE = {False: 1e-4, True: 2e-2}  # by fp16
_EXAMPLE_SIZE = (72, 104)


@dataclass(frozen=True)
class Comparison:
    """A file's result beside gcseg's own.

    Attributes:
        shape: (N, H, W) of the images.
        difference: largest difference of the logits; for labels, by how much the logit of a pixel's label falls short
            of the highest one (0 when all are the same). As a share of the largest logit.
        equal: share of the pixels whose class is the same.
        seen: how many classes there are in gcseg's result.
    """

    shape: tuple[int, int, int]
    difference: float
    equal: float
    seen: int


@dataclass
class ExportReport:
    """What was written, and how it compares.

    Attributes:
        file: the file.
        format: its format.
        metadata: what it says about itself.
        comparisons: with gcseg's own results.
        tolerance: what their differences had to stay under.
        notes: what the file does otherwise than gcseg with this config.
    """

    file: Path
    format: str
    metadata: dict[str, str]
    tolerance: float
    comparisons: list[Comparison] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """What JSON can hold, with the size of the file in bytes."""
        return {**asdict(self), "bytes": self.file.stat().st_size}

    def __str__(self) -> str:
        output = "labels" if self.metadata["output"] == "labels" else "logits"
        lines = [
            f"{self.file}: {self.format}, {self.file.stat().st_size / 1e6:.1f} MB",
            f"  image: {self.metadata['image']}",
            f"  {output}: {self.metadata[output]}",
            "run again and compared with gcseg (difference as a share of the largest logit, "
            f"at most {self.tolerance:g}):",
        ]
        for c in self.comparisons:
            n, height, width = c.shape
            lines.append(
                f"  {n} x {height}x{width}: difference {c.difference:.1e}, equal classes {c.equal:.4%} ({c.seen} seen)"
            )
        steps = json.loads(self.metadata.get("left_to_the_caller", "[]"))
        if steps:
            lines.append("left to whoever runs the file, as gcseg does it before: " + ", ".join(map(_step, steps)))
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def _step(transform: dict[str, Any]) -> str:
    options = ", ".join(f"{key}={value!r}" for key, value in transform.items() if key != "type")
    return f"{transform.get('type')}({options})"


def export_model(
    model: str | os.PathLike | Config | nn.Module,
    checkpoint: str | os.PathLike | None = None,
    out: str | os.PathLike | None = None,
    format: str = "onnx",
    *,
    output: str = "labels",
    input: str = "image",
    shape: int | Sequence[int] | None = None,
    static: bool = False,
    fp16: bool = False,
    opset: int | None = None,
    tolerance: float | None = None,
    cfg_options: dict[str, Any] | None = None,
) -> ExportReport:
    """Write a model to a file that runs without gcseg, and check the file.

    The file is written elsewhere, loaded, run on images of other sizes and in other numbers than it was traced with,
    and compared with the model as gcseg runs it; it comes to its place whole, after that, or not at all.

    Args:
        model: a config file, the name of a packaged recipe, a ``Config``, or a finished segmentor, whatever its dtype
            and device (not changed).
        checkpoint: the weights; not for a finished model.
        out: the file; by default in the current folder, named like the config, the checkpoint, or ``model``.
        format: ``"onnx"``, ``"torch-export"`` or ``"torchscript"``.
        output: ``"labels"``, ``"logits"`` or ``"coarse"``, see :class:`~gcseg.export.deployable.Deployable`.
        input: ``"image"`` or ``"normalised"``, likewise.
        shape: (H, W) of the image to trace with, or one number for a square; the only size with ``static``.
        static: one shape alone, with one image at a time; needs ``shape``.
        fp16: weights and arithmetic in float16: half the size, for GPUs.
        opset: version of ONNX's operators, 18 by default; for ``"onnx"`` alone.
        tolerance: largest difference from gcseg's logits, as a share of the largest logit; by default 1e-4, and 2e-2
            with ``fp16``.
        cfg_options: overrides of the config with dotted keys.

    Raises:
        ExportError: what cannot be exported and why, or a file that does not compute the same.
        ConfigError, CheckpointError, WeightsNotFoundError: the model cannot be built.
    """
    require_packages(format)
    require_torch(format)
    size = _checked_size(shape, static)
    if opset is not None and format != "onnx":
        raise ExportError(f"opset={opset}: only the format 'onnx' has one, not {format!r}; leave it out")
    tolerance = TOLERANCE[fp16] if tolerance is None else tolerance
    if not tolerance >= 0:
        raise ExportError(f"tolerance={tolerance}: a share of the largest logit is at least 0")
    name = model if isinstance(model, str | os.PathLike) else getattr(getattr(model, "cfg", model), "filename", None)
    target = checked_target(out, Path(name or checkpoint or "model").stem, FORMATS[format].suffix)
    segmentor = _segmentor(model, checkpoint, cfg_options)
    deployable = Deployable(segmentor, output, input, fp16)
    example = deployable.example(1 if static else 2, *size)
    metadata = describe(deployable, segmentor, tuple(example.shape) if static else None)
    report = ExportReport(target, format, metadata, tolerance)
    reference = _reference(segmentor, report.notes)

    with tempfile.TemporaryDirectory(prefix="gcseg_export_") as folder:
        file = Path(folder) / target.name
        with announced(f"writing {format}"):
            try:
                chosen = DEFAULT_OPSET if opset is None else opset
                FORMATS[format].write(deployable, example, not static, file, metadata, chosen)
            except ExportError:
                raise
            except Exception as e:
                raise ExportError(
                    f"{type(segmentor).__name__} cannot be written as {format}: {first_line(e)}. "
                    "GCSEG_TRACEBACK=1 in the environment shows where"
                ) from e
        with announced("running the file"):
            exported = ExportedModel(file)
            for seed, (n, height, width) in enumerate(_other_shapes(size, static), start=1):
                images = deployable.example(n, height, width, seed)
                report.comparisons.append(_compare(exported, deployable, reference, images, (n, height, width)))
        _demand_agreement(report)
        if output == "labels" and max(c.seen for c in report.comparisons) == 1:
            report.notes.append(
                "the images of the comparison are of one class for this model, which says little; compare with "
                "output='logits' (--output logits) as well"
            )
        put(file, target)
    return report


def _segmentor(model: Any, checkpoint: Any, cfg_options: dict[str, Any] | None) -> nn.Module:
    if not isinstance(model, nn.Module):
        from gcseg.apis.inference import init_model

        return init_model(model, checkpoint, device="cpu", cfg_options=cfg_options)
    if checkpoint is not None or cfg_options:
        raise ExportError("export_model: a finished model takes no checkpoint and no cfg_options; use init_model")
    from gcseg.apis.pretrained import unwrapped
    from gcseg.models.segmentors import BaseSegmentor

    model = unwrapped(model)
    if not isinstance(model, BaseSegmentor):
        raise ExportError(
            f"export_model: a {type(model).__name__} is no segmentor; gcseg.models.EncoderDecoder(backbone, head) is "
            "one of a backbone and a head, and torch.onnx.export writes other modules"
        )
    if any(p.is_meta for p in model.parameters()):
        raise ExportError("export_model: the model is on the device meta and has no weights yet")
    return model


def _checked_size(shape: int | Sequence[int] | None, static: bool) -> tuple[int, int]:
    if shape is None:
        if static:
            raise ExportError("a file for one size alone needs that size: give shape (--shape HEIGHT WIDTH)")
        return _EXAMPLE_SIZE
    return image_shape(shape)


def checked_target(out: str | os.PathLike | None, name: str, suffix: str) -> Path:
    """Where to write: ``out``, or ``name`` with ``suffix`` in the current folder; its folder exists afterwards.

    Raises:
        ExportError: another suffix, or a place that cannot be written to.
    """
    target = Path(f"{name}{suffix}" if out is None else out).expanduser()
    if target.suffix != suffix:
        raise ExportError(f"{target}: the name of this file must end in {suffix}, by which its readers know it")
    check_writable(target, error=ExportError)  # before minutes of work
    return target


def put(file: Path, target: Path) -> None:
    """Bring a finished file to its place, whole or not at all."""
    from gcseg.utils.atomic import write_atomically

    with writing(target, ExportError):
        write_atomically(target, file.read_bytes())


def _reference(segmentor: nn.Module, notes: list[str]) -> nn.Module:
    """The model as gcseg runs it on one window of any size."""
    reference = copy.deepcopy(segmentor).cpu().float().eval()
    if (reference.test_cfg or {}).get("mode") == "slide":
        notes.append(
            "test_cfg.mode='slide': gcseg moves a window over the image and averages; the file is the network of one "
            f"window, best used at {tuple(reference.test_cfg['crop_size'])} (H, W)"
        )
        reference.test_cfg = dict(mode="whole")
    if getattr(reference.data_preprocessor, "test_cfg", None):
        notes.append(f"data_preprocessor.test_cfg={reference.data_preprocessor.test_cfg}: the file does not pad images")
        reference.data_preprocessor.test_cfg = None
    return reference


def _other_shapes(size: tuple[int, int], static: bool) -> list[tuple[int, int, int]]:
    """Shapes (N, H, W) to run at: none of them the traced one, and one of odd numbers."""
    height, width = size
    if static:
        return [(1, height, width), (1, height, width)]
    return [(1, height // 2 * 2 + 25, width // 2 * 2 + 7), (3, height // 2 + 8, width // 2 + 16)]


@torch.no_grad()
def _compare(
    exported: ExportedModel, deployable: Deployable, reference: nn.Module, images: Tensor, shape: tuple[int, int, int]
) -> Comparison:
    inputs = images
    if deployable.input == "image":
        planes = images.permute(0, 3, 1, 2)
        planes = planes.flip(1) if deployable.channels == 3 else planes  # as OpenCV reads
        inputs = reference.data_preprocessor(dict(inputs=list(planes)), False)["inputs"]
    try:
        coarse, found = reference.predict_coarse(inputs), torch.from_numpy(exported(images.numpy()))
    except Exception as e:
        reason = e if isinstance(e, ExportError) else first_line(e)
        raise ExportError(
            f"at {shape} (N, H, W), where the file is compared with gcseg: {reason}. If that is too small for the "
            "network, trace with a larger image (--shape 256 256) and it is compared at larger ones; a network of one "
            "size alone needs --static, too"
        ) from e
    if coarse is None:
        raise ExportError(
            f"{type(reference).__name__} has a postprocess_result of its own, which a file would not have; export an "
            "EncoderDecoder"
        )
    logits = torch.stack([c.logits if deployable.output == "coarse" else c.restore() for c in coarse])
    expected_shape = (logits.shape[0], *logits.shape[2:]) if deployable.output == "labels" else logits.shape
    if found.shape != expected_shape:
        raise ExportError(f"the written file gives {tuple(found.shape)} for {shape}, and not {tuple(expected_shape)}")
    # One score is one class against a threshold.
    bar = None if deployable.threshold is None else torch.logit(torch.tensor(deployable.threshold), eps=1e-6)
    scores = logits if bar is None else torch.cat([bar.expand_as(logits), logits], dim=1)
    labels = scores.argmax(1)
    if deployable.output == "labels":
        labels = torch.stack([c.argmax(deployable.threshold) for c in coarse])
        chosen = found.long().clamp(max=scores.shape[1] - 1)
        difference = (scores.amax(1) - scores.gather(1, chosen[:, None]).squeeze(1)).max()
        equal = found == labels
    else:
        difference = (found - logits).abs().max()
        own = found if bar is None else torch.cat([bar.expand_as(found), found], dim=1)
        equal = own.argmax(1) == labels
    scale = logits.abs().max().clamp(min=torch.finfo(logits.dtype).tiny)
    return Comparison(shape, float(difference / scale), float(equal.double().mean()), len(labels.unique()))


def _demand_agreement(report: ExportReport) -> None:
    worst = max(report.comparisons, key=lambda c: float("inf") if c.difference != c.difference else c.difference)
    if not worst.difference <= report.tolerance:  # NaN is no agreement
        raise ExportError(
            f"{report.file} is not written: at {worst.shape} (N, H, W) the file and gcseg differ by "
            f"{worst.difference:.2g} of the largest logit, more than the tolerance {report.tolerance:g} "
            f"({worst.equal:.2%} of the classes are equal). If that is precise enough, give a larger tolerance"
        )
