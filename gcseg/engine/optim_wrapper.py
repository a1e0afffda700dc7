"""Mixed precision that knows the hardware: bfloat16 where it is native, float16 with loss scaling on older GPUs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper as _OptimWrapper
from torch import Tensor, nn

from gcseg.engine.guard import GuardedUpdate
from gcseg.engine.hardware import cpu_has_bf16, gpu_has_bf16
from gcseg.registry import OPTIM_WRAPPERS
from gcseg.utils.errors import ConfigError, HardwareError
from gcseg.utils.names import nearest

_DTYPES = {name: getattr(torch, name) for name in ("float16", "bfloat16", "float32", "float64")}


def amp_dtype(
    dtype: str | torch.dtype | None = None,
    device_type: str | None = None,
    cpu_probe: Callable[[], bool] = cpu_has_bf16,
    gpu_probe: Callable[[], bool] = gpu_has_bf16,
) -> torch.dtype:
    """The dtype to compute in under autocast, checked against the hardware.

    Args:
        dtype: a wish; None takes bfloat16 where the hardware has it, and float16 on GPUs that do not.
        device_type: ``"cpu"`` or ``"cuda"``; where mmengine puts the model by default.
        cpu_probe: whether the CPU has bfloat16.
        gpu_probe: whether the GPU has bfloat16.

    Raises:
        ConfigError: unknown dtype.
        HardwareError: the hardware lacks it, and what to do.
    """
    from mmengine.device import get_device

    if isinstance(dtype, str):
        if dtype not in _DTYPES:
            close = nearest(dtype, _DTYPES)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise ConfigError(f"AMP dtype {dtype!r} is not one of {', '.join(_DTYPES)}.{hint}")
        dtype = _DTYPES[dtype]
    if dtype is not None and dtype not in _DTYPES.values():
        raise ConfigError(f"AMP dtype {dtype!r} is not one of {', '.join(_DTYPES)}")
    if dtype in (torch.float32, torch.float64):
        return dtype
    device_type = device_type or get_device()
    if device_type == "cpu":
        if dtype == torch.float16:
            raise HardwareError("AMP in float16 needs a GPU; on a CPU use dtype='bfloat16', or leave out --amp")
        if not cpu_probe():
            raise HardwareError(
                "AMP on a CPU needs bfloat16 in hardware (the flags avx512_bf16, amx_bf16, or bf16 on Arm, in "
                "/proc/cpuinfo), which this CPU does not have: it would be several times slower than float32. Leave "
                "out --amp (in code amp=True; in a config AmpOptimWrapper and fp16=True), or run on a GPU"
            )
        return torch.bfloat16
    if device_type == "cuda":
        native = gpu_probe()
        if dtype == torch.bfloat16 and not native:
            raise HardwareError(
                "this GPU does not have bfloat16 in hardware (NVIDIA Ampere or newer does): use dtype='float16', or "
                "leave dtype out to have it chosen"
            )
        return dtype or (torch.bfloat16 if native else torch.float16)
    raise HardwareError(f"AMP runs on 'cpu' and 'cuda', not on {device_type!r}: leave out --amp")


def autocast_for(dtype: torch.dtype, device_type: str | None = None) -> AbstractContextManager:
    """mmengine's autocast in ``dtype``; an empty context for float32 and float64."""
    from mmengine.runner.amp import autocast

    if dtype in (torch.float32, torch.float64):
        return nullcontext()
    return autocast(device_type=device_type, dtype=dtype)


@OPTIM_WRAPPERS.register_module()
class OptimWrapper(GuardedUpdate, _OptimWrapper):
    """mmengine's wrapper of this name, which makes no step with a loss that is not finite.

    Its arguments are mmengine's.
    """


@OPTIM_WRAPPERS.register_module()
class AmpOptimWrapper(GuardedUpdate, _OptimWrapper):
    """Mixed precision training under mmengine's name and options, on CPUs too.

    Args:
        loss_scale: ``"dynamic"``, a number (static), or the arguments of ``torch.amp.GradScaler``. It matters in
            float16
            alone: bfloat16 has the range of float32.
        dtype: ``"float16"``, ``"bfloat16"``, ``"float32"``, ``"float64"``, or None for what the hardware does best. The
            last two mean no autocast.
        use_fsdp: scale gradients with ``ShardedGradScaler``.
        cpu_probe: whether the CPU has bfloat16.
        gpu_probe: whether the GPU has bfloat16.
        **kwargs: those of ``OptimWrapper``.

    Raises:
        ConfigError: unknown dtype or loss scale.
        HardwareError: the hardware lacks the dtype.
    """

    def __init__(
        self,
        loss_scale: str | float | dict = "dynamic",
        dtype: str | torch.dtype | None = None,
        use_fsdp: bool = False,
        cpu_probe: Callable[[], bool] = cpu_has_bf16,
        gpu_probe: Callable[[], bool] = gpu_has_bf16,
        **kwargs: Any,
    ) -> None:
        from mmengine.device import get_device

        device_type = get_device()
        self.cast_dtype = amp_dtype(dtype, device_type, cpu_probe, gpu_probe)
        super().__init__(**kwargs)
        self.device_type = device_type
        scaled = self.cast_dtype == torch.float16
        self._static_scale, options = _scaler_options(loss_scale)
        if not scaled and loss_scale != "dynamic":
            print_log(
                f"loss_scale={loss_scale} has no effect in {self.cast_dtype}: only float16 needs it",
                logger="current",
                level=logging.WARNING,
            )
        if use_fsdp:
            from torch.distributed.fsdp.sharded_grad_scaler import ShardedGradScaler

            self.loss_scaler = ShardedGradScaler(enabled=scaled, **options)
        else:
            self.loss_scaler = torch.amp.GradScaler(device_type, enabled=scaled, **options)

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Gradients of the scaled loss."""
        self.loss_scaler.scale(loss).backward(**kwargs)
        self._inner_count += 1

    def step(self, **kwargs: Any) -> None:
        """Unscale, clip, and step unless float16 overflowed."""
        if self.clip_grad_kwargs:
            self.loss_scaler.unscale_(self.optimizer)
            self._clip_grad()
        self.loss_scaler.step(self.optimizer, **kwargs)
        self.loss_scaler.update(self._static_scale)

    def state_dict(self) -> dict:
        """The optimizer's state and, in float16, the loss scaler's under ``loss_scaler``."""
        state = super().state_dict()
        if self.loss_scaler.is_enabled():
            state["loss_scaler"] = self.loss_scaler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        """Accepts the states of ``OptimWrapper`` and of any precision: what another precision needed is left aside."""
        state = dict(state_dict)
        scaler = state.pop("loss_scaler", None)
        if scaler and self.loss_scaler.is_enabled():
            self.loss_scaler.load_state_dict(scaler)
        super().load_state_dict(state)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast around the forward pass, beside what ``OptimWrapper`` does for gradient accumulation."""
        with super().optim_context(model), autocast_for(self.cast_dtype, self.device_type):
            yield


def _scaler_options(loss_scale: Any) -> tuple[float | None, dict]:
    if loss_scale == "dynamic":
        return None, {}
    if isinstance(loss_scale, bool):
        pass
    elif isinstance(loss_scale, int | float):
        return float(loss_scale), {"init_scale": float(loss_scale)}
    elif isinstance(loss_scale, dict):
        return None, dict(loss_scale)
    raise ConfigError(
        f"loss_scale={loss_scale!r}: 'dynamic', a number, or a dict of GradScaler's arguments is expected"
    )
