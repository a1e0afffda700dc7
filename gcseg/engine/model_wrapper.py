"""Data-parallel training, without GPUs too."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from mmengine.model import MMDistributedDataParallel as _Parent
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from gcseg.registry import MODEL_WRAPPERS


@MODEL_WRAPPERS.register_module()
class MMDistributedDataParallel(_Parent):
    """mmengine's wrapper, which also accepts a model on the CPU.

    Args:
        module: the model.
        device_ids: mmengine's runner passes the local rank; torch refuses that for a model on the CPU, so it is left
            out.
        **kwargs: those of mmengine's. ``broadcast_buffers`` goes on under the name that torch has for it since 2.13.
    """

    def __init__(self, module: nn.Module, device_ids: list[int] | None = None, **kwargs: Any) -> None:
        known = inspect.signature(DistributedDataParallel.__init__).parameters
        if "broadcast_buffers" in kwargs and "forward_sync_buffers" in known:
            kwargs["forward_sync_buffers"] = kwargs.pop("broadcast_buffers")
        on_cpu = all(p.device == torch.device("cpu") for p in module.parameters())
        super().__init__(module=module, device_ids=None if on_cpu else device_ids, **kwargs)
