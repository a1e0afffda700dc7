"""``torch.compile`` for the parts of a segmentor, with the way back where it does not work."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from gcseg.utils.errors import ConfigError
from gcseg.utils.names import unknown_name_message

_PARTS = ("backbone", "neck", "decode_head", "auxiliary_head")
_REASON_LENGTH = 300


def compile_parts(model: nn.Module, options: bool | Mapping[str, Any] | None = True, training: bool = False) -> int:
    """Compile the forward passes of backbone, neck and heads, in place.

    The parts are compiled when they are first called, which takes a minute or two. What is around them (data
    preprocessor, losses, sliding windows, the bookkeeping of a training step) stays as it is: compiling it takes longer
    than it saves. Names in the state dict do not change.

    Where compiling fails, because there is no C++ compiler or for any other reason, one warning says why and the parts
    run as they did before. Torch compiles a further version when the kind of input changes (see ``training``), and from
    a limit on (``torch._dynamo.config``) runs the rest uncompiled.

    Args:
        model: a segmentor, or a wrapper around one.
        options: True, or arguments of ``torch.compile`` such as ``dict(mode='max-autotune')``; False and None do
            nothing.
        training: the compiled parts are for training: they are used in training mode alone, and made for the size that
            comes first (and again for any size if a second one comes). Otherwise they are made for all sizes at once,
            unless ``options`` has ``dynamic``.

    Returns:
        How many parts there are that were not compiled before.

    Raises:
        ConfigError: an option that ``torch.compile`` does not have.
    """
    check_options(options)
    if options is None or options is False:
        return 0
    arguments = {} if options is True else dict(options)
    outcome = _Outcome()
    parts = list(_parts(model))
    if not parts:
        outcome.warn(f"{type(model).__name__} has none of the parts that are compiled: {', '.join(_PARTS)}")
    uncompiled = [part for part in parts if "forward" not in vars(part)]
    for part in uncompiled:
        part.forward = CompiledForward(part, arguments, training, outcome)  # type: ignore[method-assign]
    return len(uncompiled)


def check_options(options: bool | Mapping[str, Any] | None) -> None:
    """Refuse what ``torch.compile`` does not know.

    Raises:
        ConfigError: neither a truth value nor arguments of ``torch.compile``.
    """
    if options is None or isinstance(options, bool):
        return
    if not isinstance(options, Mapping):
        raise ConfigError(f"compile={options!r}: True, False, or a dict of arguments of torch.compile is expected")
    known = list(inspect.signature(torch.compile).parameters)[1:]
    for name in options:
        if name not in known:
            raise ConfigError(unknown_name_message("option of compile", name, known))


def _parts(model: nn.Module) -> Iterator[nn.Module]:
    for owner in model.modules():
        for name in _PARTS:
            found = owner._modules.get(name)
            if found is not None:
                yield from found if isinstance(found, nn.ModuleList) else [found]


class _Outcome:
    """What the parts of one model share: one failure switches all back, and is told once."""

    failed = False

    def fail(self, error: Exception) -> None:
        if not self.failed:
            self.failed = True
            text = " ".join(str(error).partition("Set TORCH")[0].split()) or type(error).__name__
            self.warn(text if len(text) <= _REASON_LENGTH else f"{text[:_REASON_LENGTH]}...")

    def warn(self, why: str) -> None:
        from mmengine.logging import print_log

        text = f"compile: the model runs uncompiled, with the same results, because it cannot be compiled here: {why}"
        print_log(text, logger="current", level=logging.WARNING)


class CompiledForward:
    """The forward pass of a module, compiled, or as it was once compiling has failed.

    Args:
        module: whose forward pass it is.
        arguments: of ``torch.compile``.
        training: compile the passes in training mode only.
        outcome: shared by the parts of a model.
    """

    def __init__(self, module: nn.Module, arguments: Mapping[str, Any], training: bool, outcome: _Outcome) -> None:
        self.module = module
        self.training = training
        self.any_size = not training and "dynamic" not in arguments
        self.outcome = outcome
        try:
            # The function of the class, and the module as its argument: a copy of the module then computes with its
            # own weights.
            self.compiled = torch.compile(type(module).forward, **arguments)
        except Exception as error:  # this Python or this system is not supported
            outcome.fail(error)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The module's outputs."""
        uncompiled = type(self.module).forward
        if self.outcome.failed or (self.training and not self.module.training):
            return uncompiled(self.module, *args, **kwargs)
        try:
            if self.any_size:
                _mark_sizes(args)
            return self.compiled(self.module, *args, **kwargs)
        except Exception as e:
            error = e
        result = uncompiled(self.module, *args, **kwargs)  # raises what is wrong with the arguments
        self.outcome.fail(error)
        return result


def _mark_sizes(values: Any) -> None:
    """Let batch, height and width of feature maps vary.

    ``dynamic=True`` would let all numbers vary, those of the modules too, which torch 2.4 gets wrong: ``i in
    self.out_indices`` was false, and feature maps were missing.
    """
    for value in values:
        if isinstance(value, list | tuple):
            _mark_sizes(value)
        elif isinstance(value, torch.Tensor) and value.ndim == 4:
            for axis in (0, 2, 3):
                torch._dynamo.maybe_mark_dynamic(value, axis)
