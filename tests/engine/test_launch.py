import os

import pytest
import torch
from mmengine.config import Config

from gcseg.engine.launch import _settle_wrapper, init_distributed
from gcseg.utils import ConfigError

RANK_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def test_wrappers_are_those_of_this_package():
    cases = [
        ({}, "gcseg.MMDistributedDataParallel"),
        (dict(find_unused_parameters=True), "gcseg.MMDistributedDataParallel"),
        (dict(type="FSDP2"), "gcseg.FSDP2"),
        (dict(type="MMSeparateDistributedDataParallel"), "MMSeparateDistributedDataParallel"),
        (dict(type="mmengine.MMDistributedDataParallel"), "mmengine.MMDistributedDataParallel"),
    ]
    for wrapper, expected in cases:
        cfg = Config(dict(model_wrapper_cfg=wrapper) if wrapper else {})
        _settle_wrapper(cfg)
        assert cfg.model_wrapper_cfg.type == expected
        assert {**cfg.model_wrapper_cfg, **wrapper, "type": expected} == cfg.model_wrapper_cfg


def test_no_launcher_changes_nothing():
    cfg = Config(dict(env_cfg=dict(dist_cfg=dict(backend="nccl"))))
    init_distributed("none", cfg)
    assert cfg.launcher == "none" and not torch.distributed.is_initialized() and "model_wrapper_cfg" not in cfg


@pytest.mark.parametrize("launcher, started_by", [("pytorch", "torchrun"), ("slurm", "srun"), ("mpi", "mpirun")])
def test_a_launcher_that_did_not_start_us_is_named(launcher, started_by, monkeypatch):
    for name in list(os.environ):
        if name in RANK_VARIABLES or name.startswith(("SLURM_", "OMPI_")):
            monkeypatch.delenv(name)
    with pytest.raises(ConfigError, match=started_by):
        init_distributed(launcher, Config({}))
    with pytest.raises(ConfigError, match="none, pytorch"):
        init_distributed("torch", Config({}))


@pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")
@pytest.mark.parametrize(
    "launcher, variables",
    [
        ("slurm", dict(SLURM_PROCID="1", SLURM_NTASKS="4", SLURM_LOCALID="1", SLURM_NODELIST="n", MASTER_ADDR="a")),
        (
            "mpi",
            dict(OMPI_COMM_WORLD_RANK="1", OMPI_COMM_WORLD_SIZE="4", OMPI_COMM_WORLD_LOCAL_RANK="1", MASTER_ADDR="a"),
        ),
    ],
)
def test_slurm_and_mpi_without_a_gpu_form_a_gloo_group(launcher, variables, monkeypatch):
    for name in RANK_VARIABLES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    made = {}

    def init(backend, timeout):
        made.update(backend=backend, seconds=timeout.total_seconds(), **{k: os.environ[k] for k in RANK_VARIABLES})

    monkeypatch.setattr(torch.distributed, "init_process_group", init)
    cfg = Config(dict(env_cfg=dict(dist_cfg=dict(backend="nccl", port=1234, timeout=60)), find_unused_parameters=True))
    init_distributed(launcher, cfg)
    assert made == dict(
        backend="gloo", seconds=60, RANK="1", WORLD_SIZE="4", LOCAL_RANK="1", MASTER_ADDR="a", MASTER_PORT="1234"
    )
    assert cfg.model_wrapper_cfg == dict(
        type="gcseg.MMDistributedDataParallel", broadcast_buffers=False, find_unused_parameters=True
    )
