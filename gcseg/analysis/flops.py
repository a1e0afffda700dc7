"""Operations and parameters of a model, by part.

One multiply-add counts as two operations. Counted are convolutions and matrix products (torch's ``FlopCounterMode``),
not normalisation, activation, resizing or softmax, which together are under 1 % here. The forward pass runs on torch's
meta device: shapes alone, no memory and no arithmetic.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from gcseg.config import load_config, shape_or_crop
from gcseg.config_build import built_from
from gcseg.utils.errors import ConfigError

if TYPE_CHECKING:
    from mmengine.config import Config


@dataclass(frozen=True)
class Complexity:
    """What a model costs for one image.

    Attributes:
        shape: (H, W) of the image.
        flops: operations of a prediction, by part of the model: backbone, neck, decode_head.
        params: parameters by part, those of training alone (auxiliary_head) included.
    """

    shape: tuple[int, int]
    flops: dict[str, int]
    params: dict[str, int]

    @property
    def total_flops(self) -> int:
        """Operations of a prediction."""
        return sum(self.flops.values())

    @property
    def total_params(self) -> int:
        """Parameters of the model."""
        return sum(self.params.values())

    def as_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        return {**asdict(self), "total_flops": self.total_flops, "total_params": self.total_params}

    def __str__(self) -> str:
        names = list(dict.fromkeys([*self.flops, *self.params]))
        width = max(len(n) for n in [*names, "total"])
        lines = [
            f"input {self.shape[0]}x{self.shape[1]} (height x width)",
            f"{'part':{width}}  {'GFLOP':>9}  {'params, M':>9}",
        ]
        for name in names:
            lines.append(f"{name:{width}}  {self.flops.get(name, 0) / 1e9:9.2f}  {self.params.get(name, 0) / 1e6:9.2f}")
        lines.append(f"{'total':{width}}  {self.total_flops / 1e9:9.2f}  {self.total_params / 1e6:9.2f}")
        lines.append("2 operations per multiply-add, convolutions and matrix products of a prediction")
        return "\n".join(lines)


def count_complexity(
    config: str | os.PathLike | Config,
    shape: int | Sequence[int] | None = None,
    cfg_options: dict[str, Any] | None = None,
) -> Complexity:
    """Count the operations and parameters of a config's model.

    Args:
        config: a path, the name of a packaged recipe, or a ``Config``.
        shape: (H, W) of the image, or one number for a square; by default the config's crop size.
        cfg_options: overrides with dotted keys.

    Raises:
        ConfigError: the config cannot work, or the shape is not one or two positive numbers.
    """
    from gcseg.engine.hardware import adapt_config_for_hardware
    from gcseg.registry import MODELS, SCOPE

    cfg = load_config(config, cfg_options)
    if cfg.get("model") is None:
        raise ConfigError(f"{cfg.filename or 'the config'}: no `model`")
    adapt_config_for_hardware(cfg, world_size=1)
    size = shape_or_crop(cfg, shape)
    model_cfg = {**cfg.model, "pretrained": None, "_scope_": SCOPE}
    with torch.device("meta"), built_from({"model": model_cfg}):
        model = MODELS.build(model_cfg)
    return measure_complexity(model, size)


def measure_complexity(model: nn.Module, shape: tuple[int, int]) -> Complexity:
    """Count the operations and parameters of a segmentor.

    Args:
        model: with ``backbone``, perhaps ``neck``, and a forward in mode 'tensor'; left in the mode it was in. It may
            be on the meta device.
        shape: (H, W) of the image.
    """
    from gcseg.models.segmentors.base import image_channels

    device = next(model.parameters()).device
    image = torch.empty(1, image_channels(model), *shape, device=device)
    was_training = model.training
    model.eval()
    try:
        flops: dict[str, int] = {}
        with torch.no_grad():
            total, _ = _count(lambda: model(image, mode="tensor"))
            flops["backbone"], features = _count(lambda: model.backbone(image))
            if getattr(model, "neck", None) is not None:
                flops["neck"], _ = _count(lambda: model.neck(features))
            flops["decode_head"] = total - sum(flops.values())
    finally:
        model.train(was_training)
    params = {name: sum(p.numel() for p in child.parameters()) for name, child in model.named_children()}
    return Complexity(shape, flops, {name: count for name, count in params.items() if count})


def _count(run: Callable[[], Any]) -> tuple[int, Any]:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        result = run()
    return counter.get_total_flops(), result
