"""Any modelling with any transform and any fusion, by name."""

from __future__ import annotations

from typing import Any

from gcseg.models.context.framework import BaseContext, Transform, check_choice
from gcseg.models.context.non_local import NonLocal, PairwiseContext
from gcseg.models.context.pooled import POOLINGS, PooledContext

MODELLINGS = (*POOLINGS, "pairwise")


def context_block(
    in_channels: int,
    modelling: str = "attention",
    transform: Transform = "bottleneck",
    fusion: str = "add",
    *,
    ratio: float | None = None,
    layer_norm: bool | None = None,
    zeros_init: bool = True,
    dims: int = 2,
    mode: str | None = None,
    reduction: int | None = None,
    use_scale: bool | None = None,
    sub_sample: bool | None = None,
) -> BaseContext:
    """Make one of the blocks of the framework (Cao et al. 2019, arXiv 1904.11492, section 3.3).

    The published ones are GC, ``("attention", "bottleneck", "add")``; SNL, ``("attention", "linear", "add")``; SE,
    ``("average", "bottleneck", "scale", layer_norm=False)``; and NL, ``("pairwise", "linear", "add")``.

    Args:
        in_channels: C, channels of the input and of the output.
        modelling: ``"attention"`` or ``"average"``, a context per image, or ``"pairwise"``, one per position.
        transform: ``"linear"``, one 1x1 convolution, or ``"bottleneck"``, two with normalisation and ReLU between them;
            or a function that makes a Sequential from the channels in and out.
        fusion: ``"add"``, ``"scale"`` (by a sigmoid) or ``"both"``.
        ratio: a bottleneck has ``int(in_channels * ratio)`` channels inside; 1/4 by default.
        layer_norm: whether a bottleneck normalises; it does by default.
        zeros_init: the last layers of the transforms start at zero: addition alone is the identity at first, scaling
            halves.
        dims: number of axes of the positions, 1, 2 or 3.
        mode: of ``modelling="pairwise"`` alone, as the rest, see :class:`~gcseg.models.context.PairwiseContext`:
            how two positions are compared; ``"embedded_gaussian"`` by default.
        reduction: channels are divided by it for the comparison; 2 by default.
        use_scale: divide the scores of ``"embedded_gaussian"`` by the square root of those channels; it does by
            default.
        sub_sample: halve keys and values along the last two axes by max pooling; it does not by default.

    Returns:
        A :class:`PooledContext`, :class:`PairwiseContext` or :class:`NonLocal`: from (N, C, *positions) to the same.

    Raises:
        ValueError: an unknown option, or options that do not fit each other.
    """
    check_choice("modelling", modelling, MODELLINGS)
    options = dict(mode=mode, reduction=reduction, use_scale=use_scale, sub_sample=sub_sample)
    pairwise: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    common: dict[str, Any] = dict(zeros_init=zeros_init, dims=dims)
    bottleneck: dict[str, Any] = dict(ratio=ratio, layer_norm=layer_norm)
    if modelling != "pairwise":
        if pairwise:
            raise ValueError(
                f"{', '.join(pairwise)}: only modelling='pairwise' has such options, received {modelling!r}; "
                "remove them"
            )
        return PooledContext(in_channels, modelling, transform, fusion, **bottleneck, **common)
    if use_scale is not None and mode not in (None, "embedded_gaussian"):
        raise ValueError(f"use_scale: only mode='embedded_gaussian' divides, received mode={mode!r}; remove use_scale")
    if transform == "linear" and fusion == "add" and ratio is None and not layer_norm:
        return NonLocal(in_channels, **pairwise, **common)
    return PairwiseContext(in_channels, transform, fusion, **bottleneck, **pairwise, **common)
