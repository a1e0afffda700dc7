"""What the machine can do, and fitting a config to it."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gcseg.version import __version__

if TYPE_CHECKING:
    from mmengine.config import Config

_SYNC_NAMES = {"SyncBN": "BN", "MMSyncBN": "BN", "SyncBatchNorm": "BN"}
_CPUINFO = Path("/proc/cpuinfo")
# As Linux names them: x86 first, then Arm.
_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16", "sve_bf16"}


def cpu_has_bf16(cpuinfo: str | None = None) -> bool:
    """Whether the CPU multiplies bfloat16 in hardware (AVX512-BF16, AMX, or Arm's BF16).

    Without it, autocast converts back and forth and is several times slower than float32.

    Args:
        cpuinfo: the text of /proc/cpuinfo; read from there by default. Elsewhere than on Linux torch is asked.
    """
    if cpuinfo is None and _CPUINFO.is_file():
        cpuinfo = _CPUINFO.read_text(encoding="utf-8")
    if cpuinfo is not None:
        for line in cpuinfo.splitlines():
            key, _, value = line.partition(":")
            if key.strip().lower() in ("flags", "features"):
                return bool(_BF16_FLAGS & set(value.split()))
        return False
    if platform.machine() == "arm64":
        return False
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(probe and probe())


def gpu_has_bf16() -> bool:
    """Whether the current GPU multiplies bfloat16 in hardware: NVIDIA Ampere or newer, or an AMD GPU."""
    if not torch.cuda.is_available():
        return False
    return torch.version.hip is not None or torch.cuda.get_device_capability()[0] >= 8


def adapt_config_for_hardware(cfg: Config, world_size: int | None = None, has_gpu: bool | None = None) -> Config:
    """Make a config written for several GPUs run on what is here, and say what was changed.

    SyncBN becomes BN when there is one process or no GPU (it computes the same there, and cannot run at all on a CPU);
    the communication backend becomes gloo without a GPU; ``persistent_workers`` is dropped where ``num_workers`` is 0.

    Args:
        cfg: changed in place.
        world_size: number of processes; asked of torch.distributed by default.
        has_gpu: asked of torch by default.

    Returns:
        ``cfg``.
    """
    from mmengine.dist import get_world_size
    from mmengine.logging import print_log

    world_size = get_world_size() if world_size is None else world_size
    has_gpu = torch.cuda.is_available() if has_gpu is None else has_gpu
    if world_size == 1 or not has_gpu:
        count = sum(_replace_sync_bn(cfg.get(key)) for key in ("norm_cfg", "model", "tta_model"))
        cfg.pop("sync_bn", None)
        if count:
            why = "there is no GPU" if not has_gpu else "there is one process"
            print_log(f"SyncBN is replaced by BN in {count} places of the config, because {why}", logger="current")
    if not has_gpu:
        dist_cfg = cfg.get("env_cfg", {}).get("dist_cfg", {})
        if dist_cfg.get("backend") == "nccl":
            dist_cfg["backend"] = "gloo"
    for key in ("train_dataloader", "val_dataloader", "test_dataloader"):
        loader = cfg.get(key)
        if isinstance(loader, dict) and loader.get("num_workers", 0) == 0:
            loader.pop("persistent_workers", None)
            loader.pop("prefetch_factor", None)
    return cfg


def lay_out_channels_last(model: torch.nn.Module) -> bool:
    """Lay the weights of a model out channels_last, in place, where that is safe.

    Convolutions are faster in this order (three to four times in bf16 on a CPU); the values are the same but for
    rounding. On a CPU with AVX-512, torch 2.15 writes past the end of a buffer in the backward pass of a strided 1x1
    convolution with less than 16 input channels when its weights or its input have this order (``nn.Conv2d(8, 16, 1,
    2)`` on 2x8x128x256, float32 and bfloat16), and the process dies; a model that has one, which only toys do, keeps
    its order. Batches come from ``PackSegInputs`` in the usual order, so that nothing in such a model has the other.

    Args:
        model: on the device it will be run on.

    Returns:
        Whether it was done.
    """
    first = next(model.parameters(), None)
    if (first is None or first.device.type == "cpu") and any(map(_is_narrow_strided_1x1, model.modules())):
        return False
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return True


def _is_narrow_strided_1x1(module: torch.nn.Module) -> bool:
    return (
        isinstance(module, torch.nn.Conv2d)
        and module.kernel_size == (1, 1)
        and module.stride != (1, 1)
        and module.in_channels // module.groups < 16
    )


def _replace_sync_bn(node: Any) -> int:
    if isinstance(node, dict):
        count = sum(_replace_sync_bn(value) for value in node.values())
        if node.get("type") in _SYNC_NAMES:
            node["type"] = _SYNC_NAMES[node["type"]]
            count += 1
        return count
    if isinstance(node, list | tuple):
        return sum(_replace_sync_bn(value) for value in node)
    return 0


def hide_broken_torchvision() -> bool:
    """Make a torchvision that cannot be imported look absent.

    A torchvision built for another torch raises RuntimeError at import; mmengine's environment report, which every run
    begins with, expects ModuleNotFoundError.

    Returns:
        Whether it was hidden.
    """
    import sys

    if "torchvision" in sys.modules:
        return sys.modules["torchvision"] is None
    try:
        import torchvision  # noqa: F401
    except ModuleNotFoundError:
        return False
    except Exception as e:
        from mmengine.logging import print_log

        for name in [m for m in sys.modules if m.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        sys.modules["torchvision"] = None  # type: ignore[assignment]
        print_log(f"torchvision cannot be imported and is left aside: {type(e).__name__}: {e}", logger="current")
        return True
    return False


def collect_env() -> dict[str, Any]:
    """Versions of Python, torch, CUDA, the compilers, OpenCV, mmengine and gcseg, by name: what a bug report needs."""
    from mmengine.utils.dl_utils import collect_env as collect

    hide_broken_torchvision()
    return {**collect(), "gcseg": __version__}
