"""Models, batches and data sets of gcseg and of the peer, each made the way its users make them."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from harness.work import Unavailable

#: The published recipes that are measured; both sides ship them under these names.
CITYSCAPES = "gcnet_r50-d8_4xb2-40k_cityscapes-512x1024"
CITYSCAPES_769 = "gcnet_r50-d8_4xb2-40k_cityscapes-769x769"
ADE20K = "gcnet_r50-d8_4xb4-80k_ade20k-512x512"

#: How a contestant computes: the recipe without flags; with ``--amp``; with ``--amp --compile``; or the peer as an
#: expert would tune it, with channels_last and bfloat16 autocast, neither of which its own commands offer on a CPU.
SETTINGS = ("published", "amp", "compiled", "tuned")


def pick_device(device: str) -> str:
    """``device`` itself, if it is here.

    Raises:
        Unavailable: it is not.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise Unavailable("no GPU")
    return device


def need_bfloat16(device: str) -> None:
    """Refuse to time an emulation.

    Raises:
        Unavailable: the processor, or the GPU, has no bfloat16 in hardware.
    """
    import torch

    if device == "cuda":
        native = torch.cuda.get_device_capability()[0] >= 8
    else:
        cpuinfo = Path("/proc/cpuinfo")
        words = set(cpuinfo.read_text().split()) if cpuinfo.is_file() else set()
        native = bool(words & {"avx512_bf16", "amx_bf16", "bf16", "sve_bf16"})
    if not native:
        raise Unavailable(f"no bfloat16 in hardware ({device})")


def recipe(side: str, name: str, options: dict[str, Any] | None = None) -> Any:
    """A side's own copy of a published recipe, with overrides."""
    # The options came as JSON, and the peer insists on tuples for sizes.
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in (options or {}).items()}
    if side == "gcseg":
        from gcseg.config import load_config

        return load_config(name, options)
    import mmseg
    from mmengine.config import Config

    cfg = Config.fromfile(Path(mmseg.__file__).parent / ".mim" / "configs" / "gcnet" / f"{name}.py")
    cfg.merge_from_dict(options)
    return cfg


def testing_model(
    side: str,
    setting: str,
    name: str,
    weights: str,
    options: dict[str, Any] | None = None,
    device: str = "cpu",
    tta: bool = False,
) -> Any:
    """A model with weights, ready for ``test_step``, as the side's test command has it.

    Args:
        side: ``"gcseg"`` or ``"peer"``.
        setting: one of :data:`SETTINGS`.
        name: of the recipe.
        weights: file of :func:`harness.materials.weights`.
        options: overrides of the recipe.
        device: ``"cpu"`` or ``"cuda"``.
        tta: test-time augmentation around the model.
    """
    if setting != "published":
        need_bfloat16(device)
    cfg = recipe(side, name, options)
    if side == "gcseg":
        from gcseg.apis import init_model
        from gcseg.engine.preparation import prepare_for_inference
        from gcseg.models.segmentors import SegTTAModel

        dtype = None if setting == "published" else "bfloat16"
        model = init_model(cfg, weights, device=device)
        model = prepare_for_inference(model, dtype, compile=setting == "compiled")
        if tta:
            model = SegTTAModel(module=model)
    else:
        from mmseg.apis import init_model

        model = init_model(cfg, weights, device=device)
        if setting == "tuned":
            model = lay_out_channels_last(model)
        if tta:
            from mmseg.registry import MODELS

            model = MODELS.build({**cfg.tta_model, "module": model})
    return model.eval()


def testing_context(setting: str, device: str = "cpu") -> AbstractContextManager:
    """What surrounds ``test_step`` in the test loop."""
    import torch

    return nullcontext() if setting == "published" else torch.autocast(device, torch.bfloat16)


def check_compiled(model: Any) -> None:
    """Refuse to measure what was not compiled in the end; to be asked after the warm-up.

    Raises:
        Unavailable: gcseg warned that compiling failed, and went on without.
    """
    outcome = getattr(getattr(model.backbone, "forward", None), "outcome", None)
    if outcome is not None and outcome.failed:
        raise Unavailable("torch.compile does not work here")


def lay_out_channels_last(model: Any) -> Any:
    """A model of the peer with weights and batches channels_last."""
    import torch

    model.to(memory_format=torch.channels_last)
    inner = model.data_preprocessor.forward

    def forward(data: Any, training: bool = False) -> Any:
        out = inner(data, training)
        if torch.is_tensor(out["inputs"]):
            out["inputs"] = out["inputs"].contiguous(memory_format=torch.channels_last)
        return out

    model.data_preprocessor.forward = forward
    return model


def samples(side: str, labels: Sequence[Any] | None, shape: tuple[int, int], count: int = 1) -> list[Any]:
    """Data samples of images of one shape (H, W), with labels (H, W) if there are any."""
    import torch
    from mmengine.structures import PixelData

    if side == "gcseg":
        from gcseg.structures import SegDataSample
    else:
        from mmseg.structures import SegDataSample

    out = []
    for i in range(count):
        sample = SegDataSample()
        sample.set_metainfo(dict(ori_shape=shape, img_shape=shape, img_path=f"{i}.png", scale_factor=(1.0, 1.0)))
        if labels is not None:
            sample.gt_sem_seg = PixelData(data=torch.as_tensor(labels[i], dtype=torch.int64)[None])
        out.append(sample)
    return out


def fresh(data: dict[str, Any]) -> dict[str, Any]:
    """A batch for one step: models write into the samples."""
    return {"inputs": data["inputs"], "data_samples": copy.deepcopy(data["data_samples"])}


def training_runner(
    side: str,
    setting: str,
    name: str,
    weights: str,
    options: dict[str, Any] | None = None,
    device: str = "cpu",
) -> Any:
    """A runner whose ``model`` and ``optim_wrapper`` stand where the side's train command has them at the first step.

    Precision on a GPU is bfloat16 for both sides, so that like is compared with like.

    Args:
        side: ``"gcseg"`` or ``"peer"``.
        setting: one of :data:`SETTINGS`; ``"amp"`` for the peer is its own automatic mixed precision, for GPUs only.
        name: of the recipe.
        weights: file of :func:`harness.materials.weights`.
        options: overrides of the recipe.
        device: ``"cpu"`` or ``"cuda"``; the runners take the GPU where there is one.
    """
    import torch

    if setting != "published":
        need_bfloat16(device)
    work_dir = tempfile.mkdtemp(prefix="runner_", dir=".")
    make = _gcseg_runner if side == "gcseg" else _peer_runner
    runner = make(recipe(side, name, {**(options or {}), "model.pretrained": None}), setting, work_dir)
    state = torch.load(weights, map_location="cpu", weights_only=True)["state_dict"]
    runner.model.load_state_dict(state)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.model.train()
    return runner


def _gcseg_runner(cfg: Any, setting: str, work_dir: str) -> Any:
    from gcseg.apis.session import build_runner, open_process, prepare_config
    from gcseg.apis.train import use_amp
    from gcseg.engine.compiled import compile_parts
    from gcseg.engine.host_memory import keep_freed_memory

    cfg = prepare_config(cfg, work_dir, None, change=None if setting == "published" else use_amp)
    open_process(cfg, "none")
    keep_freed_memory()
    runner = build_runner(cfg, strict=False, source="weights")
    compile_parts(runner.model, setting == "compiled", training=True)
    return runner


def _peer_runner(cfg: Any, setting: str, work_dir: str) -> Any:
    import torch
    from mmengine.optim import OptimWrapper
    from mmengine.registry import OPTIM_WRAPPERS
    from mmengine.runner import Runner

    class AutocastOptimWrapper(OptimWrapper):
        """What the peer's own wrapper would do, did it not refuse to run on a CPU."""

        def optim_context(self, model: Any) -> Any:
            return torch.autocast("cpu", torch.bfloat16)

    cfg.work_dir = work_dir
    _replace_sync_bn(cfg.model)
    if setting == "amp":
        cfg.optim_wrapper.update(type="AmpOptimWrapper", dtype="bfloat16")
    elif setting == "tuned":
        OPTIM_WRAPPERS.register_module(module=AutocastOptimWrapper, force=True)
        cfg.optim_wrapper.type = "AutocastOptimWrapper"
    runner = Runner.from_cfg(cfg)
    if setting == "tuned":
        lay_out_channels_last(runner.model)
    return runner


def _replace_sync_bn(node: Any) -> None:
    """The peer's documentation asks for this where there is one process: SyncBN cannot train on a CPU at all."""
    if isinstance(node, dict):
        if node.get("type") == "SyncBN":
            node["type"] = "BN"
        for value in node.values():
            _replace_sync_bn(value)
    elif isinstance(node, list):
        for value in node:
            _replace_sync_bn(value)
