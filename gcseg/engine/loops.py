"""Validation and test loops that can run under the autocast of the training."""

from __future__ import annotations

from typing import Any

import torch
from mmengine import runner as _runner

from gcseg.engine.interruption import Interruption, StopRequested
from gcseg.engine.optim_wrapper import amp_dtype, autocast_for
from gcseg.registry import LOOPS


class _AutocastLoop:
    """Adds ``fp16`` in the sense of AMP: the dtype the hardware does best, not float16 whatever it costs."""

    def __init__(self, *args: Any, fp16: bool = False, dtype: str | torch.dtype | None = None, **kwargs: Any) -> None:
        self.amp_dtype = amp_dtype(dtype) if fp16 else torch.float32
        # The parent opens an autocast of its own inside ours: switched off it would undo ours, switched on it takes the
        # dtype that it finds.
        inner = self.amp_dtype not in (torch.float32, torch.float64)
        super().__init__(*args, fp16=inner, **kwargs)  # type: ignore[call-arg]
        self.interruption: Interruption | None = None

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """One batch under autocast.

        Raises:
            StopRequested: the training that this validation belongs to has been asked to stop.
        """
        if self.interruption is not None and self.interruption.requested is not None:
            raise StopRequested
        with autocast_for(self.amp_dtype):
            super().run_iter(idx, data_batch)  # type: ignore[misc]


@LOOPS.register_module()
class ValLoop(_AutocastLoop, _runner.ValLoop):
    """mmengine's validation loop.

    Args:
        *args: those of mmengine's.
        fp16: run under autocast; on a CPU and on GPUs that have it in bfloat16.
        dtype: another dtype to compute in, as in :class:`gcseg.engine.AmpOptimWrapper`.
        **kwargs: those of mmengine's.

    Raises:
        HardwareError: ``fp16`` without the hardware for it.
    """


@LOOPS.register_module()
class TestLoop(_AutocastLoop, _runner.TestLoop):
    """mmengine's test loop.

    Args:
        *args: those of mmengine's.
        fp16: run under autocast; on a CPU and on GPUs that have it in bfloat16.
        dtype: another dtype to compute in, as in :class:`gcseg.engine.AmpOptimWrapper`.
        **kwargs: those of mmengine's.

    Raises:
        HardwareError: ``fp16`` without the hardware for it.
    """

    __test__ = False  # not a test case, whatever its name
