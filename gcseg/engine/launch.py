"""Starting several processes' common work, on GPUs and on CPUs."""

from __future__ import annotations

import logging
import os
import subprocess
from datetime import timedelta
from typing import TYPE_CHECKING

from gcseg.utils.errors import ConfigError

if TYPE_CHECKING:
    from mmengine.config import Config

LAUNCHERS = ("none", "pytorch", "slurm", "mpi")
_DEFAULT_PORT = "29500"


def init_distributed(launcher: str, cfg: Config) -> None:
    """Let the processes find each other; nothing to do for ``launcher='none'``.

    mmengine's own function selects a CUDA device and fails without one; without a GPU this one forms a gloo group. The
    wrapper that it puts into the config accepts a model on the CPU, too.

    Args:
        launcher: ``"none"``, ``"pytorch"`` (torchrun), ``"slurm"`` (srun), ``"mpi"`` (mpirun).
        cfg: ``env_cfg`` says how; changed in place.

    Raises:
        ConfigError: unknown launcher, or its environment variables are not there.
    """
    import torch
    from mmengine.dist import init_dist, is_distributed
    from mmengine.logging import print_log
    from mmengine.utils.dl_utils import set_multi_processing

    if launcher not in LAUNCHERS:
        raise ConfigError(f"launcher {launcher!r} is not one of {', '.join(LAUNCHERS)}")
    cfg.launcher = launcher
    if launcher == "none":
        if cfg.get("model_wrapper_cfg"):
            print_log("model_wrapper_cfg has no effect without --launcher", logger="current", level=logging.WARNING)
        return
    _settle_wrapper(cfg)
    if is_distributed():
        return
    env = cfg.get("env_cfg", {})
    dist_cfg = dict(env.get("dist_cfg", {}))
    _check_environment(launcher)
    # Before any process group: init_dist would choose 'spawn', which the runner then overrides with a warning.
    set_multi_processing(**env.get("mp_cfg", {}), distributed=True)
    if torch.cuda.is_available():
        init_dist(launcher, **{"backend": "nccl", **dist_cfg})
        return
    _set_rank_variables(launcher, dist_cfg.get("port"))
    timeout = timedelta(seconds=dist_cfg.get("timeout", 1800))
    torch.distributed.init_process_group(backend="gloo", timeout=timeout)


def _settle_wrapper(cfg: Config) -> None:
    """Have the runner take this package's wrappers: of names without a scope it asks mmengine's registry alone."""
    from gcseg.registry import MODEL_WRAPPERS, SCOPE

    wrapper = cfg.get("model_wrapper_cfg") or {
        "broadcast_buffers": False,
        "find_unused_parameters": cfg.get("find_unused_parameters", False),
    }
    kind = wrapper.get("type", "MMDistributedDataParallel")
    MODEL_WRAPPERS.import_from_location()
    if kind in MODEL_WRAPPERS.module_dict:
        wrapper["type"] = f"{SCOPE}.{kind}"
    cfg.model_wrapper_cfg = wrapper


def _check_environment(launcher: str) -> None:
    needed = {
        "pytorch": (("RANK", "WORLD_SIZE", "LOCAL_RANK"), "torchrun (tools/dist_train.sh, tools/dist_test.sh)"),
        "slurm": (
            ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_NODELIST"),
            "srun (tools/slurm_train.sh, tools/slurm_test.sh)",
        ),
        "mpi": (("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"), "mpirun"),
    }
    variables, started_by = needed[launcher]
    absent = [v for v in variables if v not in os.environ]
    if absent:
        raise ConfigError(
            f"--launcher {launcher}: the environment has no {', '.join(absent)}; start the command with {started_by}, "
            "or use --launcher none"
        )


def _set_rank_variables(launcher: str, port: int | None) -> None:
    """Translate the launcher's environment variables into torch's."""
    env = os.environ
    if port is not None:
        env["MASTER_PORT"] = str(port)
    env.setdefault("MASTER_PORT", _DEFAULT_PORT)
    if launcher == "slurm":
        env["RANK"], env["WORLD_SIZE"] = env["SLURM_PROCID"], env["SLURM_NTASKS"]
        env["LOCAL_RANK"] = env.get("SLURM_LOCALID", "0")
        if "MASTER_ADDR" not in env:
            command = ["scontrol", "show", "hostnames", env["SLURM_NODELIST"]]
            env["MASTER_ADDR"] = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
    elif launcher == "mpi":
        env["RANK"], env["WORLD_SIZE"] = env["OMPI_COMM_WORLD_RANK"], env["OMPI_COMM_WORLD_SIZE"]
        env["LOCAL_RANK"] = env["OMPI_COMM_WORLD_LOCAL_RANK"]
    env.setdefault("MASTER_ADDR", "127.0.0.1")
