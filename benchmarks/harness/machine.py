"""What was measured on."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

#: What the kernel calls the instructions that matter here, and what their makers call them.
_INSTRUCTIONS = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "AVX512-BF16", "amx_bf16": "AMX-BF16"}


def describe_machine(threads: int) -> dict[str, Any]:
    """Processor, its relevant instructions, cores, memory, GPU, and how busy the machine was."""
    model, flags = _cpu()
    return {
        "cpu": model,
        "instructions": [name for flag, name in _INSTRUCTIONS.items() if flag in flags],
        "cores": len(os.sched_getaffinity(0)),
        "threads": threads,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpu": _gpu(),
        "system": f"{platform.system()} {platform.machine()}",
        "load_before": round(os.getloadavg()[0], 2),
    }


def has_gpu() -> bool:
    """Whether there is a GPU that torch may be able to use; torch itself has the last word."""
    return shutil.which("nvidia-smi") is not None or any(Path(f"/dev/{name}").exists() for name in ("nvidia0", "kfd"))


def describe_commit(checkout: Path) -> str | None:
    """The commit of a checkout, with a plus sign when files differ from it; None where git does not know it."""
    try:
        command = ["git", "-C", str(checkout), "describe", "--always", "--abbrev=9", "--exclude=*", "--dirty=+"]
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _cpu() -> tuple[str, set[str]]:
    model, flags = platform.machine(), set()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().split("\n\n")[0].splitlines():
            key, _, value = (part.strip() for part in line.partition(":"))
            if key == "model name":
                model = value
            elif key.lower() in ("flags", "features"):
                flags = set(value.split())
    return model, flags


def _gpu() -> str | None:
    """Names and driver of the NVIDIA GPUs; asked of the driver, so that the parent needs no torch."""
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True)
    return "; ".join(done.stdout.strip().splitlines()) or None if done.returncode == 0 else None
