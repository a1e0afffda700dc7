"""From a model as it is trained to one that only predicts, and does so quickly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from gcseg.engine.compiled import check_options, compile_parts
from gcseg.engine.fold import fold_batch_norms, is_plain
from gcseg.engine.hardware import lay_out_channels_last

_LOW = (torch.float16, torch.bfloat16)


def prepare_for_inference(
    model: nn.Module, dtype: str | torch.dtype | None = None, compile: bool | Mapping[str, Any] = False
) -> nn.Module:
    """Make a model that has its weights quick at predicting, in place; it cannot be trained any more.

    It is put into evaluation mode and its parameters need no gradients. Batch normalisations are folded into the
    convolutions before them (:func:`~gcseg.engine.fold.fold_batch_norms`), which changes names in the state dict, and
    weights are laid out channels_last. The logits stay the same but for rounding: 1e-5 of their scale in float32, 1e-12
    in float64.

    Args:
        model: a segmentor, or a wrapper around one.
        dtype: ``"bfloat16"`` or ``"float16"``: to be run under autocast in this dtype. The weights that autocast would
            convert in every pass are converted once, with the same results. ``model.inference_dtype`` tells
            ``inference_model`` and ``SegInferencer`` to open that autocast; code of your own opens
            ``torch.autocast(device_type, dtype)``. None, float32 and float64: no autocast.
        compile: ``torch.compile`` backbone and heads, see :func:`~gcseg.engine.compiled.compile_parts`.

    Returns:
        ``model``.

    Raises:
        ConfigError: unknown dtype or option of ``compile``.
        HardwareError: the hardware lacks the dtype.
    """
    from gcseg.engine.optim_wrapper import amp_dtype

    check_options(compile)
    first = next(model.parameters(), None)
    if dtype is not None:
        dtype = amp_dtype(dtype, None if first is None else first.device.type)
    model.eval().requires_grad_(False)
    fold_batch_norms(model)
    lay_out_channels_last(model)
    if dtype in _LOW:
        _convert_weights(model, dtype)
        model.inference_dtype = dtype  # type: ignore[assignment]
    compile_parts(model, compile)
    return model


def _convert_weights(model: nn.Module, dtype: torch.dtype) -> None:
    """Convert the float32 weights of those layers whose inputs and weights autocast converts."""
    for module in model.modules():
        if is_plain(module):
            for parameter in module.parameters(recurse=False):
                if parameter.dtype == torch.float32:
                    parameter.data = parameter.data.to(dtype)
