"""Cross-entropy of logits that are coarser than their labels, without the resized logits.

Shape legend: N images, C classes, h x w size of the logits, H x W size of the labels, s rows of a strip.
"""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .bilinear_map import resize_map, working_dtype
from .first_maximum import class_dtype, first_maximum


class UpsampledCrossEntropy(NamedTuple):
    """What :func:`upsample_cross_entropy` returns; every reduction, hard-example mining and accuracy sit on top.

    Attributes:
        loss: cross-entropy per pixel, (N, H, W), float32 (float64 for float64 logits), 0 where the label is ignored;
            the only member that carries a gradient.
        pred: class with the highest score per pixel, (N, H, W), uint8 up to 256 classes and int64 beyond; the first of
            several with the same score.
        prob: softmax probability of that class, (N, H, W), in [1 / C, 1]; None where it was not asked for.
    """

    loss: Tensor
    pred: Tensor
    prob: Tensor | None


def upsample_cross_entropy(
    logits: Tensor,
    label: Tensor,
    *,
    align_corners: bool = False,
    ignore_index: int = 255,
    class_weight: Tensor | None = None,
    with_prob: bool = True,
) -> UpsampledCrossEntropy:
    """Resize logits bilinearly to the size of the labels and take the cross-entropy of every pixel.

    Equal to ``F.interpolate`` followed by ``F.cross_entropy``, but the (N, C, H, W) tensor is never made: a strip of
    rows is computed, used and overwritten. The gradient of the sum of the losses is computed on the way, so that the
    usual backward pass is a multiplication; a gradient that differs from pixel to pixel makes it go over the strips
    again. On CUDA, where triton is installed, two kernels do the same.

    Args:
        logits: (N, C, h, w), floating; computed in float32 (float64 for float64), under autocast too.
        label: (N, H, W) int64, classes in [0, C) or ``ignore_index``.
        align_corners: see :func:`gcseg.ops.resize`.
        ignore_index: label of pixels whose loss and gradient are 0.
        class_weight: factor on the loss of each true class, (C,); None is 1 for all.
        with_prob: give the probability of the predicted class too.

    Returns:
        See :class:`UpsampledCrossEntropy`.

    Raises:
        ValueError: shapes that do not fit each other, or (on a CPU; a GPU gives NaN) a label that is no class.
    """
    if logits.ndim != 4 or label.ndim != 3 or logits.shape[0] != label.shape[0]:
        raise ValueError(
            f"upsample_cross_entropy: logits are {tuple(logits.shape)}, labels {tuple(label.shape)}; "
            "needed are (N, C, h, w) and (N, H, W)"
        )
    if class_weight is not None and class_weight.shape != logits.shape[1:2]:
        raise ValueError(
            f"upsample_cross_entropy: class_weight is {tuple(class_weight.shape)} for {logits.shape[1]} classes; "
            "give one weight per class"
        )
    if class_weight is not None:
        class_weight = class_weight.detach()
    options = (int(ignore_index), bool(align_corners), bool(with_prob))
    loss, pred, prob = _UpsampleCrossEntropy.apply(logits, label, class_weight, *options)
    return UpsampledCrossEntropy(loss, pred, prob)


def _pixel_factor(
    label: Tensor, classes: int, ignore_index: int, class_weight: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """Factor on the loss of each pixel, the shape of ``label``: 0 where it is ignored, else its class weight, or 1."""
    valid = label != ignore_index
    beyond = valid & ((label < 0) | (label >= classes))
    # Only a CPU can look without stopping for it; there a wrong label would be read from beyond the logits.
    if label.device.type == "cpu" and beyond.any():
        raise ValueError(
            f"upsample_cross_entropy: labels {label[beyond].unique().tolist()[:8]} are outside [0, {classes}) and not "
            f"ignore_index={ignore_index}; check num_classes, reduce_zero_label and void_labels"
        )
    if class_weight is None:
        factor = valid.to(dtype)
    else:
        factor = class_weight.to(dtype)[label.clamp(0, classes - 1)].masked_fill_(~valid, 0)
    return factor if label.device.type == "cpu" else factor.masked_fill_(beyond, torch.nan)


class _UpsampleCrossEntropy(torch.autograd.Function):
    """Losses, predictions and probabilities of all pixels; and, if a gradient may be asked for, that of their sum."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        label: Tensor,
        class_weight: Tensor | None,
        ignore_index: int,
        align_corners: bool,
        with_prob: bool,
    ) -> tuple[Tensor | None, ...]:
        kernels = _kernels_for(logits)
        ctx.options = (ignore_index, align_corners, kernels)
        with torch.autocast(logits.device.type, enabled=False):
            if kernels is not None:
                factor = _pixel_factor(label, logits.shape[1], ignore_index, class_weight, torch.float32)
                loss, pred, prob, saved = kernels.forward(logits, label, factor, align_corners, with_prob)
            else:
                wanted = ctx.needs_input_grad[0]
                loss, pred, prob, saved = _pass(
                    logits, label, class_weight, ignore_index, align_corners, with_gradient=wanted, with_prob=with_prob
                )
        ctx.save_for_backward(logits, label, class_weight, saved)
        ctx.mark_non_differentiable(pred, *(() if prob is None else (prob,)))
        return loss, pred, prob

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        logits, label, class_weight, saved = ctx.saved_tensors
        ignore_index, align_corners, kernels = ctx.options
        with torch.autocast(logits.device.type, enabled=False):
            if kernels is not None:
                factor = _pixel_factor(label, logits.shape[1], ignore_index, class_weight, torch.float32) * grad_loss
                gradient = kernels.backward(logits, label, factor, saved, align_corners)
            elif _is_uniform(grad_loss):
                gradient = saved * grad_loss[:1, :1, :1].unsqueeze(1).to(saved.dtype)
            else:
                gradient = _pass(
                    logits, label, class_weight, ignore_index, align_corners, with_gradient=True, grad_loss=grad_loss
                )[3]
        return gradient.to(logits.dtype), None, None, None, None, None


def _kernels_for(logits: Tensor) -> ModuleType | None:
    """The Triton form, where it can be used: on CUDA, in float32 and shorter."""
    return _triton_module() if logits.is_cuda and logits.dtype != torch.float64 else None


@lru_cache(maxsize=1)
def _triton_module() -> ModuleType | None:
    try:
        from . import upsample_cross_entropy_triton
    except ImportError:
        return None
    return upsample_cross_entropy_triton


def _is_uniform(gradient: Tensor) -> bool:
    """Whether a gradient is one number that stands for all pixels, as the backward pass of a sum makes it."""
    return gradient.numel() > 0 and all(
        step == 0 or size == 1 for step, size in zip(gradient.stride(), gradient.shape, strict=True)
    )


def _pass(
    logits: Tensor,
    label: Tensor,
    class_weight: Tensor | None,
    ignore_index: int,
    align_corners: bool,
    with_gradient: bool,
    with_prob: bool = False,
    grad_loss: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """One pass over all strips.

    Args:
        logits: (N, C, h, w).
        label: (N, H, W) int64.
        class_weight: (C,), or None.
        ignore_index: label of pixels that do not count.
        align_corners: see :func:`gcseg.ops.resize`.
        with_gradient: compute the gradient of the sum of the losses.
        with_prob: compute the probability of the predicted class.
        grad_loss: another factor on the loss of each pixel, (N, H, W).

    Returns:
        loss, pred and prob (or None), (N, H, W) each, and the gradient (N, C, h, w) or None.
    """
    resizing = resize_map(logits, label.shape[-2:], align_corners)
    dtype = working_dtype(logits)
    kind = torch.float64 if logits.dtype == torch.float64 else torch.float32
    n, c, h, w = logits.shape
    loss = torch.empty(label.shape, dtype=kind, device=label.device)
    pred = torch.empty(label.shape, dtype=class_dtype(c), device=label.device)
    prob = torch.empty_like(loss) if with_prob else None
    gradient = torch.zeros(n, h, c, w, dtype=dtype, device=logits.device) if with_gradient else None
    for image in range(n):
        for start, stop in resizing.strips():
            rows = (image, slice(start, stop))
            factor = _pixel_factor(label[rows], c, ignore_index, class_weight, dtype)
            if grad_loss is not None:
                factor = factor * grad_loss[rows]
            scores = resizing.apply(logits[image], start, stop)
            # A pixel that does not count may have any label; it reads some class and its factor is 0.
            loss[rows], pred[rows], total = _strip(scores, label[rows].clamp(0, c - 1), factor, with_gradient)
            if prob is not None:
                prob[rows] = total.reciprocal_()
            if gradient is not None:
                resizing.add_adjoint(scores, start, stop, gradient[image])
    return loss, pred, prob, None if gradient is None else gradient.transpose(1, 2)


def _strip(scores: Tensor, label: Tensor, factor: Tensor, with_gradient: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, prediction and the inverse of its probability in a strip, (s, W) each.

    Args:
        scores: (s, C, W); overwritten, with the gradient of the sum of the losses if that is asked for.
        label: (s, W) int64, in [0, C).
        factor: on the loss of each pixel, (s, W).
        with_gradient: see above.
    """
    index = label.unsqueeze(1)
    top, pred = first_maximum(scores)
    true = scores.gather(1, index)
    total = scores.sub_(top).exp_().sum(dim=1, keepdim=True)
    # where, not a product: a pixel that is ignored has the loss 0 even if its scores are not finite.
    loss = torch.where(factor == 0, 0, (total.log() + top - true).squeeze(1) * factor)
    if with_gradient:
        scale = factor.unsqueeze(1)
        scores.mul_(scale / total).scatter_add_(1, index, -scale)
    return loss, pred, total.squeeze(1)
