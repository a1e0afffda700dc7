"""The network as it leaves gcseg: one module from an image to classes, made of operations that every format has.

Shape legend: N images, C channels, K classes (or one score), H x W size of the image, h x w size of the features.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gcseg.engine.preparation import prepare_for_inference
from gcseg.models.data_preprocessor import SegDataPreProcessor
from gcseg.models.segmentors.base import image_channels
from gcseg.ops.first_maximum import class_dtype
from gcseg.utils.errors import ConfigError, ExportError
from gcseg.utils.names import unknown_name_message
from gcseg.version import __version__

INPUTS = ("image", "normalised")
OUTPUTS = ("labels", "logits", "coarse")


class Deployable(nn.Module):
    """A segmentor with what comes before and after the network, for an exporter to trace.

    Batch normalisations are folded into the convolutions. The logits are resized by ``interpolate`` and not by
    :mod:`gcseg.ops.bilinear_map`, which is quicker and which no format knows; the values are the same but for rounding.

    Args:
        model: a segmentor with its weights, whose dtype has no influence; it is not changed.
        output: ``"labels"``: the class of each pixel; ``"logits"``: logits at the size of the image; ``"coarse"``:
            logits at the size of the features.
        input: ``"image"``: pixels as an image file holds them; ``"normalised"``: what the network takes.
        fp16: weights and arithmetic of the network in float16; what comes in and goes out stays as it is.

    Raises:
        ExportError: an unknown name, or a data preprocessor or layer that cannot be exported.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, output: str = "labels", input: str = "image", fp16: bool = False) -> None:
        super().__init__()
        for what, name, known in (("output", output, OUTPUTS), ("input", input, INPUTS)):
            if name not in known:
                raise ExportError(unknown_name_message(what, str(name), known))
        _check_layers(model)
        self.output, self.input, self.fp16 = output, input, fp16
        self.align_corners: bool = model.align_corners
        self.classes: int = model.out_channels
        threshold = getattr(model.decode_head, "threshold", None)
        self.threshold: float | None = threshold if self.classes == 1 else None
        before = model.data_preprocessor
        if input == "image" and not isinstance(before, SegDataPreProcessor):
            raise ExportError(
                f"the data preprocessor is a {type(before).__name__}, which only its own code can compute; export the "
                "network alone with input='normalised' (--input normalised)"
            )
        self.channels = image_channels(model)
        # The network is fed by OpenCV, in BGR, unless the preprocessor turns that round; files hold RGB.
        self.reversed: bool = self.channels == 3 and not getattr(before, "_channel_conversion", False)
        self.normalises: bool = getattr(before, "_enable_normalize", False)
        if self.normalises:
            self.register_buffer("mean", before.mean.detach().cpu().float().clone())
            self.register_buffer("std", before.std.detach().cpu().float().clone())

        network = copy.deepcopy(model).cpu().float()
        for unused in ("auxiliary_head", "data_preprocessor"):
            network._modules.pop(unused, None)
        prepare_for_inference(network)
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.network = network.half() if fp16 else network
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """Segment images.

        Args:
            image: (N, H, W, C) uint8, RGB where C is 3; for ``input="normalised"`` (N, C, H, W) float32.

        Returns:
            labels (N, H, W), uint8 for up to 256 classes and else int64; logits (N, K, H, W) or coarse ones
            (N, K, h, w), float32.
        """
        x = self._normalised(image) if self.input == "image" else image
        logits = self.network(x.half() if self.fp16 else x, mode="tensor").float()
        if self.output == "coarse":
            return logits
        logits = F.interpolate(logits, size=x.shape[-2:], mode="bilinear", align_corners=self.align_corners)
        if self.output == "logits":
            return logits
        if self.threshold is not None:
            return (logits.sigmoid() > self.threshold).squeeze(1).to(torch.uint8)
        return logits.argmax(dim=1).to(class_dtype(self.classes))

    def _normalised(self, image: Tensor) -> Tensor:
        x = image.permute(0, 3, 1, 2)
        if self.reversed:
            x = x.flip(1)
        x = x.float()
        return (x - self.mean) / self.std if self.normalises else x

    @property
    def output_name(self) -> str:
        """What the result is called in the file."""
        return "labels" if self.output == "labels" else "logits"

    def example(self, batch: int, height: int, width: int, seed: int = 0) -> Tensor:
        """Images to trace with or to compare on, see :meth:`forward`: blots of colour under noise."""
        g = torch.Generator().manual_seed(seed)
        blots = F.interpolate(torch.rand(batch, self.channels, 5, 6, generator=g), (height, width), mode="bilinear")
        noise = torch.randn(batch, self.channels, height, width, generator=g)
        if self.input == "normalised":
            return 4 * blots - 2 + 0.2 * noise
        pixels = (255 * blots + 12 * noise).clamp(0, 255).to(torch.uint8)
        return pixels.permute(0, 2, 3, 1).contiguous()


def describe(deployable: Deployable, model: nn.Module, static_shape: tuple[int, ...] | None) -> dict[str, str]:
    """What a file says about itself: the contract of its input and output, and the names of its classes.

    Args:
        deployable: what the file computes.
        model: what it was made from, with ``dataset_meta`` and ``cfg`` where ``init_model`` made it.
        static_shape: the only shape it takes; None for any.

    Returns:
        Texts by name; lists are JSON.
    """
    meta = getattr(model, "dataset_meta", None) or {}
    channels = deployable.channels
    layout = f"(N, H, W, {channels}) uint8" if deployable.input == "image" else f"(N, {channels}, H, W) float32"
    order = "" if channels != 3 else "BGR" if deployable.input == "normalised" and deployable.reversed else "RGB"
    result = {
        "labels": f"(N, H, W) {str(class_dtype(deployable.classes)).removeprefix('torch.')}, index into classes",
        "logits": f"(N, {deployable.classes}, H, W) float32",
        "coarse": f"(N, {deployable.classes}, h, w) float32, to be resized bilinearly to H x W with "
        f"align_corners={deployable.align_corners}",
    }
    facts: dict[str, Any] = {
        "gcseg_version": __version__,
        "image": " ".join(filter(None, (layout, order, "0 to 255" if deployable.input == "image" else "normalised"))),
        deployable.output_name: result[deployable.output],
        "input": deployable.input,
        "output": deployable.output,
        "shape": "any" if static_shape is None else list(static_shape),
        "classes": list(meta.get("classes") or (f"class {i}" for i in range(max(2, deployable.classes)))),
        "palette": meta.get("palette"),
        "mean": deployable.mean.flatten().tolist() if deployable.normalises else None,
        "std": deployable.std.flatten().tolist() if deployable.normalises else None,
        "threshold": deployable.threshold,
        "left_to_the_caller": _pipeline(getattr(model, "cfg", None)) if deployable.input == "image" else None,
        "align_corners": deployable.align_corners,
        "precision": "float16" if deployable.fp16 else "float32",
    }
    return {k: v if isinstance(v, str) else json.dumps(v, default=str) for k, v in facts.items() if v is not None}


def _pipeline(cfg: Any) -> list[dict] | None:
    """The steps of the test pipeline that change the image, which are not in the file."""
    from gcseg.apis.images import find_test_pipeline

    if cfg is None:
        return None
    try:
        steps = find_test_pipeline(cfg)
    except ConfigError:  # a config that only trains
        return None
    return [dict(step) for step in steps if step.get("type") not in ("LoadImageFromFile", "PackSegInputs")]


def _check_layers(model: nn.Module) -> None:
    for name, layer in model.named_modules():
        if type(layer).__module__.startswith("mmcv.ops"):
            raise ExportError(
                f"{name} is a {type(layer).__name__}, a compiled operator of mmcv, which no other program knows; "
                "export a model without it (for deformable convolutions: without dcn and stage_with_dcn)"
            )
