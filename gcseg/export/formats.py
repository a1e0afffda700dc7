"""The formats of exported files: how each is written, and how it is run again."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gcseg.utils.errors import ExportError
from gcseg.utils.names import unknown_name_message

METADATA_FILE = "gcseg.json"
DEFAULT_OPSET = 18


@dataclass(frozen=True)
class Format:
    """One way of writing a network down.

    Attributes:
        suffix: of its files.
        torch_since: (major, minor) of the first torch that writes it for images of any size.
        packages: what writing and running it needs beside torch.
        write: from the network, an example, whether other shapes than the example's are to be possible, the file, its
            metadata, and the opset.
        load: from the file and a number of threads to a function from an image to the result, and the metadata.
    """

    suffix: str
    torch_since: tuple[int, int]
    packages: tuple[str, ...]
    write: Callable[[nn.Module, Tensor, bool, Path, Mapping[str, str], int], None]
    load: Callable[[Path, int | None], tuple[Callable[[np.ndarray], np.ndarray], dict[str, str]]]


class ExportedModel:
    """A file of :func:`gcseg.export.export_model`, ready to run on the CPU.

    Args:
        file: ``.onnx`` (run by ONNX Runtime), ``.pt2`` (``torch.export``) or ``.ts`` (TorchScript).
        threads: how many ONNX Runtime computes with, by default all cores; the other two use torch's.

    Attributes:
        metadata: what the file says about itself, texts by name.

    Raises:
        ExportError: the file is absent, damaged, of none of these kinds, or a package is missing.
    """

    def __init__(self, file: str | os.PathLike, threads: int | None = None) -> None:
        self.file = Path(file)
        if not self.file.is_file():
            raise ExportError(f"{self.file}: no such file")
        known = {kind.suffix: name for name, kind in FORMATS.items()}
        if self.file.suffix not in known:
            raise ExportError(f"{self.file}: exported files end in {', '.join(known)}")
        name = known[self.file.suffix]
        require_packages(name)
        try:
            self._run, self.metadata = FORMATS[name].load(self.file, threads)
        except Exception as e:
            raise ExportError(f"{self.file}: cannot be loaded as {name}: {first_line(e)}") from e

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Run the file on images, as ``metadata['image']`` says.

        Raises:
            ExportError: it does not take this array.
        """
        try:
            return self._run(image)
        except Exception as e:
            raise ExportError(
                f"{self.file}: cannot be run on {image.dtype} {image.shape}; it takes {self.metadata.get('image')}, "
                f"shape {self.metadata.get('shape')}: {first_line(e)}"
            ) from e

    def fact(self, name: str) -> Any:
        """A value of the metadata, decoded; None when it is not there."""
        text = self.metadata.get(name)
        try:
            return None if text is None else json.loads(text)
        except ValueError:
            return text


def require_packages(name: str) -> None:
    """Refuse a format that cannot be handled here, and say what is missing.

    Raises:
        ExportError: an unknown format, or a package that is not installed.
    """
    if name not in FORMATS:
        raise ExportError(unknown_name_message("format", str(name), FORMATS))
    missing = [package for package in FORMATS[name].packages if importlib.util.find_spec(package) is None]
    if missing:
        raise ExportError(
            f"format {name!r} needs the package{'s' * (len(missing) > 1)} {', '.join(missing)}: "
            f"pip install {' '.join(missing)}, or pip install 'gcseg[export]' for all that exporting needs"
        )


def require_torch(name: str) -> None:
    """Refuse a format that the torch at hand cannot write.

    Raises:
        ExportError: torch is too old.
    """
    since = FORMATS[name].torch_since
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < since:
        possible = ", ".join(other for other, kind in FORMATS.items() if kind.torch_since < since)
        raise ExportError(
            f"format {name!r} needs torch {since[0]}.{since[1]} or newer, whose exporter keeps the size of the image "
            f"open; here is torch {torch.__version__}. Update torch, or use the format {possible}"
        )


def first_line(error: Exception) -> str:
    """Kind and first line of an error of another program."""
    line = (str(error).strip().splitlines() or ["no reason given"])[0]
    return f"{type(error).__name__}: {line[:400]}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporters warn about their own insides; what comes out is checked."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _program(network: nn.Module, example: Tensor, dynamic: bool) -> Any:
    shapes = None
    if dynamic:
        # DYNAMIC, not AUTO: a size that would become a constant is an error. The range of each is found out.
        channels = 3 if network.input == "image" else 1
        shapes = ({axis: torch.export.Dim.DYNAMIC for axis in range(4) if axis != channels},)
    with torch.no_grad():
        return torch.export.export(network, (example,), dynamic_shapes=shapes, strict=False)


def _write_torch_export(
    network: nn.Module, example: Tensor, dynamic: bool, file: Path, metadata: Mapping[str, str], opset: int
) -> None:
    with _quiet():
        program = _program(network, example, dynamic)
        torch.export.save(program, file, extra_files={METADATA_FILE: json.dumps(metadata)})


def _load_torch_export(file: Path, threads: int | None) -> tuple[Callable[[np.ndarray], np.ndarray], dict[str, str]]:
    extra = {METADATA_FILE: ""}
    with _quiet():
        module = torch.export.load(file, extra_files=extra).module()
    return _through_torch(module), json.loads(extra[METADATA_FILE] or "{}")


def _write_torchscript(
    network: nn.Module, example: Tensor, dynamic: bool, file: Path, metadata: Mapping[str, str], opset: int
) -> None:
    with _quiet(), torch.no_grad():
        script = torch.jit.trace(network, (example,), check_trace=False)
        torch.jit.save(script, str(file), _extra_files={METADATA_FILE: json.dumps(metadata)})


def _load_torchscript(file: Path, threads: int | None) -> tuple[Callable[[np.ndarray], np.ndarray], dict[str, str]]:
    extra = {METADATA_FILE: b""}
    with _quiet():
        module = torch.jit.load(str(file), map_location="cpu", _extra_files=extra)
    return _through_torch(module), json.loads(extra[METADATA_FILE] or "{}")


def _through_torch(module: Callable[[Tensor], Tensor]) -> Callable[[np.ndarray], np.ndarray]:
    def run(image: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return module(torch.from_numpy(image)).numpy()

    return run


def _write_onnx(
    network: nn.Module, example: Tensor, dynamic: bool, file: Path, metadata: Mapping[str, str], opset: int
) -> None:
    import onnx

    with _quiet():
        program = _program(network, example, dynamic)
        names = dict(input_names=["image"], output_names=[network.output_name])
        made = torch.onnx.export(program, (), dynamo=True, opset_version=opset, verbose=False, **names)
        made.save(str(file), external_data=False)
    model = onnx.load(str(file))
    written = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if written != opset:  # the exporter writes the nearest one that it can, without a word
        raise ExportError(
            f"opset={opset}: torch {torch.__version__} cannot write this network with it, and wrote opset {written}; "
            f"ask for that one, or leave opset out for {DEFAULT_OPSET}"
        )
    foreign = {node.domain for node in model.graph.node if node.domain not in ("", "ai.onnx")}
    if foreign:
        raise ExportError(f"the network has operators outside the ONNX standard: {', '.join(sorted(foreign))}")
    if dynamic:
        _name_axes(model, network.input == "image", network.output)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(file))


def _name_axes(model: Any, channels_last: bool, output: str) -> None:
    """Give the free axes of input and output names that say what they are, in place of torch's symbols."""
    image = ("batch", "height", "width", "") if channels_last else ("batch", "", "height", "width")
    result = ("batch", "height", "width") if output == "labels" else ("batch", "", "height", "width")
    if output == "coarse":
        result = ("batch", "", "coarse_height", "coarse_width")
    for value, names in ((model.graph.input[0], image), (model.graph.output[0], result)):
        for axis, name in zip(value.type.tensor_type.shape.dim, names, strict=True):
            if name:
                axis.dim_param = name
    del model.graph.value_info[:]  # in torch's symbols; whoever wants shapes infers them


def _load_onnx(file: Path, threads: int | None) -> tuple[Callable[[np.ndarray], np.ndarray], dict[str, str]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads leave the cores to others
    if threads is not None:
        options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda image: session.run(None, {name: image})[0], dict(session.get_modelmeta().custom_metadata_map)


FORMATS = {
    "onnx": Format(".onnx", (2, 7), ("onnx", "onnxscript", "onnxruntime"), _write_onnx, _load_onnx),
    "torch-export": Format(".pt2", (2, 7), (), _write_torch_export, _load_torch_export),
    "torchscript": Format(".ts", (2, 4), (), _write_torchscript, _load_torchscript),
}
