"""What context blocks cost: parameters, operations, time and memory of recipes beside the plain FCN."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gcseg.analysis.cost_table import CostReport
from gcseg.analysis.cost_timing import Timing, time_interleaved
from gcseg.analysis.flops import count_complexity
from gcseg.config import image_shape, load_config, recipes
from gcseg.config_build import built_from
from gcseg.utils.errors import ConfigError
from gcseg.utils.progress import progress

if TYPE_CHECKING:
    from mmengine.config import Config

DEFAULT_RECIPES = ("context/*_r50-*", "gcnet/gcnet_r50-d8_4xb2-40k_cityscapes-512x1024")


@dataclass(frozen=True)
class Cost:
    """What one recipe costs.

    Attributes:
        name: of the recipe.
        params: parameters, those of the auxiliary head included.
        flops: operations of a prediction for one image, see :mod:`gcseg.analysis.flops`.
        inference: forward passes of a batch, to the logits; None if not measured.
        training: forward and backward passes of a batch; None if not measured.
    """

    name: str
    params: int
    flops: int
    inference: Timing | None = None
    training: Timing | None = None


def find_recipes(patterns: Sequence[str] = DEFAULT_RECIPES) -> list[str]:
    """The packaged recipes whose ``folder/name`` fits one of the patterns, sorted by name.

    Args:
        patterns: such as ``"context/*camvid*"``.

    Raises:
        ConfigError: a pattern that fits none.
    """
    known = {f"{file.parent.name}/{name}": name for name, file in recipes().items()}
    found: set[str] = set()
    for pattern in patterns:
        fitting = fnmatch.filter(known, pattern)
        if not fitting:
            raise ConfigError(f"no packaged recipe is called {pattern!r}; `gcseg configs --paths` lists them")
        found.update(known[name] for name in fitting)
    return sorted(found)


def compare_costs(
    configs: Sequence[str | os.PathLike] | None = None,
    *,
    shape: int | Sequence[int] | None = None,
    batch_size: int = 1,
    device: str | None = None,
    dtype: str = "float32",
    prepare: bool = True,
    train: bool = False,
    repeats: int = 5,
    warmup: int = 2,
    cfg_options: dict[str, Any] | None = None,
) -> CostReport:
    """Measure recipes against the plain FCN among them, or else against the first.

    Weights are random. The repetitions are interleaved, in an order that is reversed every other round, so that all
    recipes meet the same moods of the machine.

    Args:
        configs: paths, or names of packaged recipes; those of :data:`DEFAULT_RECIPES` by default.
        shape: (H, W) of the images, or one number; the configs' crop size by default.
        batch_size: images in a batch.
        device: where to compute; the first GPU, or the CPU, by default.
        dtype: ``"float32"``, or ``"bfloat16"`` or ``"float16"`` for autocast.
        prepare: predict with what :func:`gcseg.engine.prepare_for_inference` makes, as a test does; otherwise with the
            model of the config in evaluation mode.
        train: measure training too: forward, loss and backward pass, without the optimizer's step.
        repeats: timed repetitions; 0 measures neither time nor memory.
        warmup: repetitions before them.
        cfg_options: overrides for all configs, with dotted keys.

    Raises:
        ConfigError: a config cannot work, crop sizes differ, or a number is too small.
        HardwareError: the hardware lacks the device or the dtype.
    """
    from gcseg.apis.inference import pick_device
    from gcseg.engine.optim_wrapper import amp_dtype

    if batch_size < 1 or repeats < 0 or warmup < 0:
        raise ConfigError(f"{batch_size=}, {repeats=}, {warmup=}: allowed are from 1, from 0 and from 0")
    if repeats == 0 and train:
        raise ConfigError("repeats=0 measures nothing, so that a request for training has no effect; remove one")
    target = pick_device(device)
    precision = amp_dtype(dtype, target.type)
    names = [os.fspath(c) for c in configs] if configs is not None else find_recipes()
    loaded = {_stem(name): load_config(name, cfg_options) for name in names}
    if len(loaded) != len(names) or not names:
        raise ConfigError(f"received {len(names)} configs; give one or more, each once and each with its own file name")
    for name, cfg in loaded.items():
        if cfg.get("model") is None:
            raise ConfigError(f"{name}: no `model`")
    loaded = dict(sorted(loaded.items(), key=lambda item: not _is_plain_fcn(item[1])))
    size = _common_shape(loaded, shape)
    loaded = _models_for_one_process(loaded)
    counted = {
        name: count_complexity(cfg, size)
        for name, cfg in progress(loaded.items(), desc="parameters and operations", unit="recipe")
    }
    timings: dict[str, dict[str, Timing]] = {"inference": {}, "training": {}}
    for kind in ("inference",) * (repeats > 0) + ("training",) * train:
        works = _works(loaded, kind, size, batch_size, target, precision, prepare)
        timings[kind] = time_interleaved(works, repeats, warmup, target, kind)
    setting = dict(
        shape=size,
        batch_size=batch_size,
        device=torch.cuda.get_device_name(target) if target.type == "cuda" else target.type,
        threads=torch.get_num_threads(),
        dtype=dtype,
        prepared=prepare,
        torch=torch.__version__,
        repeats=repeats,
    )
    costs = [
        Cost(name, c.total_params, c.total_flops, timings["inference"].get(name), timings["training"].get(name))
        for name, c in counted.items()
    ]
    return CostReport(setting, tuple(costs))


def _works(
    configs: Mapping[str, Config],
    kind: str,
    size: tuple[int, int],
    batch_size: int,
    device: torch.device,
    dtype: torch.dtype,
    prepare: bool,
) -> dict[str, Callable[[], object]]:
    """One forward pass, or a training step, per config."""
    from gcseg.engine.hardware import lay_out_channels_last
    from gcseg.engine.optim_wrapper import autocast_for
    from gcseg.engine.preparation import prepare_for_inference
    from gcseg.models.segmentors.base import image_channels

    shared: dict[tuple[str, torch.Size], Tensor] = {}

    @cache
    def noise(channels: int) -> Tensor:
        return torch.randn(batch_size, channels, *size, generator=torch.Generator().manual_seed(0)).to(device)

    def make(cfg: Config) -> Callable[[], object]:
        model = _build(cfg, device)
        images = noise(image_channels(model))
        if kind == "training":
            lay_out_channels_last(model.train())
            samples = _labels(batch_size, size, model.num_classes, device)
        else:
            model.auxiliary_head = None
            prepare_for_inference(model, dtype) if prepare else lay_out_channels_last(model.eval())
        for name, parameter in model.named_parameters():  # two dozen networks differ in their blocks alone
            parameter.data = shared.setdefault((name, parameter.shape), parameter.data)

        def predict() -> None:
            with torch.no_grad(), autocast_for(dtype, device.type):
                model(images, mode="tensor")

        def step() -> None:
            with autocast_for(dtype, device.type):
                loss, _ = model.parse_losses(model(images, samples, mode="loss"))
            loss.backward()
            model.zero_grad(set_to_none=True)

        return step if kind == "training" else predict

    return {name: make(cfg) for name, cfg in progress(configs.items(), desc=f"{kind} models", unit="recipe")}


def _build(cfg: Config, device: torch.device) -> nn.Module:
    from gcseg.registry import MODELS, SCOPE

    model_cfg = {**cfg.model, "pretrained": None, "_scope_": SCOPE}
    with built_from({"model": model_cfg}):
        return MODELS.build(model_cfg).to(device)


def _models_for_one_process(configs: Mapping[str, Config]) -> dict[str, Config]:
    """Configs of the models alone, fit for one process; what had to be changed is said once for all."""
    from mmengine.config import Config

    from gcseg.engine.hardware import adapt_config_for_hardware

    together = Config(dict(model={name: cfg.model for name, cfg in configs.items()}))
    models = adapt_config_for_hardware(together, world_size=1).model
    return {name: Config(dict(model=model)) for name, model in models.items()}


def _labels(batch_size: int, size: tuple[int, int], num_classes: int, device: torch.device) -> list[Any]:
    from mmengine.structures import PixelData

    from gcseg.structures import SegDataSample

    labels = torch.randint(num_classes, (batch_size, 1, *size), generator=torch.Generator().manual_seed(1)).to(device)
    samples = [SegDataSample() for _ in labels]
    for sample, label in zip(samples, labels, strict=True):
        sample.gt_sem_seg = PixelData(data=label)
    return samples


def _is_plain_fcn(cfg: Config) -> bool:
    model = cfg.get("model") or {}
    head = model.get("decode_head")
    return isinstance(head, dict) and head.get("type") == "FCNHead" and not model["backbone"].get("plugins")


def _common_shape(configs: Mapping[str, Config], shape: int | Sequence[int] | None) -> tuple[int, int]:
    if shape is not None:
        return image_shape(shape)
    sizes = {tuple((cfg.model.get("data_preprocessor") or {}).get("size") or ()) for cfg in configs.values()}
    if len(sizes) != 1 or not next(iter(sizes)):
        crops = " and ".join("x".join(map(str, size)) or "no size" for size in sorted(sizes))
        raise ConfigError(f"the configs have crops of {crops}; give one shape for all, such as --shape 512 1024")
    height, width = next(iter(sizes))
    return height, width


def _stem(name: str) -> str:
    return os.path.basename(name).removesuffix(".py")
