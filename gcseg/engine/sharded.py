"""Training with weights, gradients and optimizer state cut into shares, by torch's ``fully_shard`` (FSDP2).

A model is built, initialised and loaded whole, and so is its optimizer, by the same code as ever; both are cut when the
first training step begins. What is saved is gathered first. So a checkpoint has the same names and tensors whether or
not the run was sharded, and each kind of run resumes from the other's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import EMAHook
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from gcseg.registry import MODEL_WRAPPERS
from gcseg.utils.errors import ConfigError, HardwareError

# What is gathered at a time: the parts of this package's models whose weights are many, and that are called as modules.
UNITS = ("BasicBlock", "Bottleneck", "ConvModule")


@MODEL_WRAPPERS.register_module()
class FSDP2(nn.Module):
    """Wrapper for ``model_wrapper_cfg=dict(type='FSDP2')``: each process keeps its share of every tensor.

    The gradients are the means over the processes, as with ``MMDistributedDataParallel``, and so are the results but
    for rounding. Buffers (running statistics) are kept whole by every process.

    Args:
        module: the model, whole, the same on all processes.
        units: class names; the weights of such a module are gathered when it is called, and the rest of the model's
            when the model is.
        reshard_after_forward: give gathered weights back after the forward pass, and gather them again for the backward
            pass. False keeps them in between: more memory, less to send.

    Raises:
        HardwareError: this torch has no ``fully_shard`` that this class can use.
    """

    def __init__(self, module: nn.Module, units: Sequence[str] = UNITS, reshard_after_forward: bool = True) -> None:
        super().__init__()
        if not has_fsdp2():
            raise HardwareError(
                f"FSDP2 needs a newer torch than {torch.__version__}, which cannot hold a sharded model whole for a "
                "validation (FSDPModule.set_reshard_after_forward); leave out model_wrapper_cfg, or install a newer "
                "torch"
            )
        self.module = module
        self.units = tuple(units)
        self.reshard_after_forward = reshard_after_forward
        self._sharded: list[nn.Module] = []

    @property
    def sharded(self) -> bool:
        """Whether the weights have been cut."""
        return bool(self._sharded)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The model's."""
        return self.module(*args, **kwargs)

    def train_step(self, data: Any, optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """The model's; before the first one the model and the optimizer are cut."""
        if not self.sharded:
            self.shard(optim_wrapper)
        return self.module.train_step(data, optim_wrapper)

    def val_step(self, data: Any) -> list:
        """The model's; once sharded it must stand between :meth:`gather` and :meth:`scatter`."""
        return self.module.val_step(data)

    def test_step(self, data: Any) -> list:
        """As :meth:`val_step`."""
        return self.module.test_step(data)

    def shard(self, optim_wrapper: OptimWrapper) -> None:
        """Cut the model, and the state of its optimizer likewise; all processes call it.

        Raises:
            ConfigError: the optimizer wrapper has several optimizers.
        """
        from torch.distributed.device_mesh import init_device_mesh

        optimizer = getattr(optim_wrapper, "optimizer", None)
        if optimizer is None:
            raise ConfigError(f"FSDP2 shards the state of one optimizer, and {type(optim_wrapper).__name__} has none")
        fully_shard: Any = _torch_fsdp()
        before = dict(self.module.named_parameters())
        mesh = init_device_mesh(next(iter(before.values())).device.type, (get_world_size(),))
        parts = [m for m in self.module.modules() if type(m).__name__ in self.units and m is not self.module]
        for part in [*parts[::-1], self.module]:  # inner ones first
            fully_shard(part, mesh=mesh, reshard_after_forward=part is not self.module and self.reshard_after_forward)
        self._sharded = [*parts, self.module]
        _shard_optimizer(optimizer, {id(before[name]): p for name, p in self.module.named_parameters()})
        self.module._register_state_dict_hook(_gather_weights)
        optimizer.register_state_dict_post_hook(_gather_optimizer)
        count = sum(p.numel() for p in before.values())
        text = f"FSDP2: {count / 1e6:.2f} M parameters in {len(self._sharded)} units over {get_world_size()} processes"
        print_log(text, logger="current")

    def gather(self) -> None:
        """Hold the whole model on every process, until :meth:`scatter`; all processes call it.

        Processes evaluate different numbers of batches, so that nothing may be sent between them meanwhile.
        """
        for part in self._sharded:
            part.unshard()
            part.set_reshard_after_forward(False, recurse=False)

    def scatter(self) -> None:
        """Keep the own share only; all processes call it."""
        for part in self._sharded:
            part.set_reshard_after_forward(part is not self.module and self.reshard_after_forward, recurse=False)
            part.reshard()


def share_in_saving(runner: Any) -> None:
    """Let all processes take part when the runner saves: mmengine's runner does so on rank 0 alone.

    Args:
        runner: its model is sharded; its ``save_checkpoint`` is replaced.

    Raises:
        ConfigError: a hook of the runner keeps weights of its own, which are not sharded.
    """
    for hook in runner.hooks:
        if isinstance(hook, EMAHook):
            raise ConfigError("EMAHook averages whole weights, which FSDP2 does not keep; leave out one of the two")
    save: Callable[..., Any] = runner.save_checkpoint

    @functools.wraps(save)  # whoever asks for its options gets mmengine's
    def save_together(*args: Any, save_optimizer: bool = True, **kwargs: Any) -> Any:
        if get_rank() == 0:
            return save(*args, save_optimizer=save_optimizer, **kwargs)
        # The same gathering in the same order as on rank 0.
        runner.model.module.state_dict()
        if save_optimizer:
            runner.optim_wrapper.state_dict()
        return None

    runner.save_checkpoint = save_together


def has_fsdp2() -> bool:
    """Whether this torch has what :class:`FSDP2` needs."""
    return _torch_fsdp() is not None


def _torch_fsdp() -> Callable | None:
    """``fully_shard`` from where this torch has it; None where it cannot hold a sharded model whole for a while.

    That of torch 2.4 cannot, and makes CUDA streams for a model on the CPU.
    """
    try:
        from torch.distributed.fsdp import FSDPModule, fully_shard
    except ImportError:
        try:
            from torch.distributed._composable.fsdp import FSDPModule, fully_shard
        except ImportError:
            return None
    return fully_shard if hasattr(FSDPModule, "set_reshard_after_forward") else None


def _shard_optimizer(optimizer: torch.optim.Optimizer, share_of: dict[int, nn.Parameter]) -> None:
    """Put the shares in the place of the whole parameters, in place; ``share_of`` has them by the wholes' ids."""
    from torch.distributed.tensor import distribute_tensor

    for group in optimizer.param_groups:
        group["params"] = [share_of[id(p)] for p in group["params"]]
    states = list(optimizer.state.items())
    optimizer.state.clear()
    for whole, state in states:
        share: Any = share_of[id(whole)]
        optimizer.state[share] = {
            key: distribute_tensor(value, share.device_mesh, share.placements)
            if isinstance(value, Tensor) and value.shape == whole.shape and value.dim()
            else value
            for key, value in state.items()
        }


def _whole(value: Any) -> Any:
    return value.full_tensor() if hasattr(value, "full_tensor") else value


def _gather_weights(module: nn.Module, state: dict[str, Any], prefix: str, metadata: dict) -> None:
    for key, value in state.items():
        state[key] = _whole(value)


def _gather_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    whole = {index: {k: _whole(v) for k, v in entry.items()} for index, entry in state["state"].items()}
    return {**state, "state": whole}
