"""Data-parallel training without GPUs."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.model import MMDistributedDataParallel as _Parent
from torch import nn

from gcseg.registry import MODEL_WRAPPERS


@MODEL_WRAPPERS.register_module()
class MMDistributedDataParallel(_Parent):
    """mmengine's wrapper, which also accepts a model on the CPU.

    Args:
        module: the model.
        device_ids: mmengine's runner passes the local rank; torch refuses that for a model on the CPU, so it is left
            out.
        **kwargs: those of mmengine's.
    """

    def __init__(self, module: nn.Module, device_ids: list[int] | None = None, **kwargs: Any) -> None:
        on_cpu = all(p.device == torch.device("cpu") for p in module.parameters())
        super().__init__(module=module, device_ids=None if on_cpu else device_ids, **kwargs)
