"""The test runs on a copy of the model that is made for predicting."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from gcseg.engine.compiled import check_options
from gcseg.engine.preparation import prepare_for_inference
from gcseg.registry import HOOKS


@HOOKS.register_module()
class FastInferenceHook(Hook):
    """Put :func:`~gcseg.engine.preparation.prepare_for_inference`'s model in the place of the runner's during the test.

    It is prepared when the weights are settled (loaded, and averaged if there is an ``EMAHook``), in the dtype of the
    test loop's ``fp16``. The runner's own model is not changed, and is back in its place after the test. Validations
    run on the model that is trained.

    Args:
        compile: as for ``prepare_for_inference``.
    """

    priority = "LOWEST"

    def __init__(self, compile: bool | Mapping[str, Any] = False) -> None:
        check_options(compile)
        self.compile = compile
        self._place: tuple[Any, str, nn.Module] | None = None

    def before_test_epoch(self, runner: Any) -> None:
        """Replace the model."""
        owner, name = runner, "model"
        while isinstance(getattr(owner, name), BaseTTAModel | DistributedDataParallel):
            owner, name = getattr(owner, name), "module"
        model = getattr(owner, name)
        try:
            if is_model_wrapper(model):
                raise TypeError(f"{type(model).__name__} is a wrapper that may keep a share of the weights only")
            prepared = _copy(model)
        except Exception as e:  # whatever the user's own classes raise
            text = f"the test runs on the model as it is built, neither folded nor compiled: it cannot be copied ({e})"
            print_log(text, logger="current", level=logging.WARNING)
            return
        dtype = getattr(runner.test_loop, "amp_dtype", torch.float32)
        setattr(owner, name, prepare_for_inference(prepared, dtype, self.compile))
        self._place = (owner, name, model)

    def after_test_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Put the runner's model back."""
        if self._place is not None:
            owner, name, model = self._place
            setattr(owner, name, model)
            self._place = None


def _copy(model: nn.Module) -> nn.Module:
    """A copy with its own weights and the same hooks: those of another object still belong to that object."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        memo.update((id(value), value) for name, value in vars(module).items() if name.endswith("_hooks"))
    return copy.deepcopy(model, memo)
