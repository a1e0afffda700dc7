"""What a run ran on, for people who read of it later."""

from __future__ import annotations

import os
import platform
import resource
import sys
from importlib import metadata
from pathlib import Path

import torch

from gcseg.version import __version__

_PACKAGES = ("torchvision", "mmengine", "mmengine-lite", "mmcv", "mmcv-lite", "numpy", "opencv-python", "pillow")


def environment() -> dict[str, str]:
    """Versions and hardware, each under its name; names of users, machines and folders are left out."""
    found = {"gcseg": __version__, "Python": platform.python_version(), "PyTorch": torch.__version__}
    if torch.version.cuda:
        found["CUDA"] = torch.version.cuda
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    found["system"] = f"{platform.system()} {platform.release()} {platform.machine()}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found["processor"] = f"{_processor()}, {cores} cores"
    if torch.cuda.is_available():
        found["GPU"] = torch.cuda.get_device_name()
    found["threads"] = str(torch.get_num_threads())
    return found


def peak_memory() -> dict[str, int | None]:
    """Bytes at this process's worst moment so far: ``peak_memory`` of the machine, ``peak_gpu_memory`` allocated."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "peak_memory": kilobytes if sys.platform == "darwin" else kilobytes * 1024,
        "peak_gpu_memory": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
