"""The CUDA form of :mod:`gcseg.ops.upsample_cross_entropy`, in Triton. The PyTorch form is its oracle in the tests.

Three kernels, none of which needs atomics, so that results are the same in every run:

* forward: a program takes one row of labels and a block of its columns, and goes over the classes once, keeping the
  running maximum and sum of exponentials. Four coarse logits make a fine one; the cache holds them.
* backward, rows: a program takes one coarse row, a block of fine columns and a block of classes, and goes over the fine
  rows that touch the coarse one; what it adds up is the gradient at coarse rows and fine columns, (N, C, h, W).
* backward, columns: the same along the columns, with the fine columns that touch each coarse one.

Shape legend: N images, C classes, h x w size of the logits, H x W size of the labels.
"""

# No "from __future__ import annotations": the interpreter of Triton 3.0 knows constexpr by the annotation itself.

from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from .bilinear_map import Axis, axis
from .first_maximum import class_dtype

_BLOCK_COLUMNS = 128
_BLOCK_CLASSES = 8


@triton.jit
def _forward_kernel(
    logits, label, factor, loss, pred, prob, lse,
    row_low, row_high, row_weight, column_low, column_high, column_weight,
    C, h, w, H, W, BLOCK: tl.constexpr, PROB: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)  # n * H + y
    n = (row // H).to(tl.int64)
    y = row % H
    x = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = x < W
    y0, y1, v = tl.load(row_low + y), tl.load(row_high + y), tl.load(row_weight + y)
    x0 = tl.load(column_low + x, mask=inside, other=0)
    x1 = tl.load(column_high + x, mask=inside, other=0)
    u = tl.load(column_weight + x, mask=inside, other=0.0)
    pixel = row.to(tl.int64) * W + x
    target = tl.load(label + pixel, mask=inside, other=0)
    f = tl.load(factor + pixel, mask=inside, other=0.0)

    top = tl.full([BLOCK], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    true = tl.zeros([BLOCK], tl.float32)
    best = tl.zeros([BLOCK], tl.int32)
    plane = logits + n * C * h * w
    for c in range(0, C):
        a = tl.load(plane + y0 * w + x0, mask=inside, other=0.0).to(tl.float32)
        b = tl.load(plane + y0 * w + x1, mask=inside, other=0.0).to(tl.float32)
        d = tl.load(plane + y1 * w + x0, mask=inside, other=0.0).to(tl.float32)
        e = tl.load(plane + y1 * w + x1, mask=inside, other=0.0).to(tl.float32)
        z = (1 - v) * ((1 - u) * a + u * b) + v * ((1 - u) * d + u * e)
        higher = z > top
        best = tl.where(higher, c, best)
        new_top = tl.maximum(top, z)
        total = total * tl.exp(top - new_top) + tl.exp(z - new_top)
        top = new_top
        true = tl.where(target == c, z, true)
        plane += h * w
    log_total = top + tl.log(total)
    value = tl.where(f == 0, 0.0, (log_total - true) * f)
    tl.store(loss + pixel, value, mask=inside)
    tl.store(pred + pixel, best, mask=inside)
    if PROB:
        tl.store(prob + pixel, 1 / total, mask=inside)
    tl.store(lse + pixel, log_total, mask=inside)


@triton.jit
def _backward_rows_kernel(
    logits, label, factor, lse, partial,
    row_low, row_high, row_weight, column_low, column_high, column_weight, touching_first, touching_stop,
    C, h, w, H, W, BLOCK: tl.constexpr, CLASSES: tl.constexpr,
):  # fmt: skip
    coarse = tl.program_id(0)  # n * h + i
    n = (coarse // h).to(tl.int64)
    i = coarse % h
    x = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = x < W
    c = tl.program_id(2) * CLASSES + tl.arange(0, CLASSES)
    x0 = tl.load(column_low + x, mask=inside, other=0)
    x1 = tl.load(column_high + x, mask=inside, other=0)
    u = tl.load(column_weight + x, mask=inside, other=0.0)[None, :]
    planes = logits + (n * C + c[:, None]) * (h * w)
    both = (c < C)[:, None] & inside[None, :]

    gradient = tl.zeros([CLASSES, BLOCK], tl.float32)
    for y in range(tl.load(touching_first + i), tl.load(touching_stop + i)):
        y0, y1, v = tl.load(row_low + y), tl.load(row_high + y), tl.load(row_weight + y)
        a = tl.load(planes + y0 * w + x0[None, :], mask=both, other=0.0).to(tl.float32)
        b = tl.load(planes + y0 * w + x1[None, :], mask=both, other=0.0).to(tl.float32)
        d = tl.load(planes + y1 * w + x0[None, :], mask=both, other=0.0).to(tl.float32)
        e = tl.load(planes + y1 * w + x1[None, :], mask=both, other=0.0).to(tl.float32)
        z = (1 - v) * ((1 - u) * a + u * b) + v * ((1 - u) * d + u * e)
        pixel = (n * H + y) * W + x
        log_total = tl.load(lse + pixel, mask=inside, other=0.0)
        target = tl.load(label + pixel, mask=inside, other=0)
        f = tl.load(factor + pixel, mask=inside, other=0.0)
        p = tl.exp(z - log_total[None, :]) - tl.where(target[None, :] == c[:, None], 1.0, 0.0)
        share = tl.where(y0 == i, 1 - v, 0.0) + tl.where(y1 == i, v, 0.0)
        gradient += share * tl.where(f[None, :] == 0, 0.0, p * f[None, :])
    where = ((n * C + c[:, None]) * h + i) * W + x[None, :]
    tl.store(partial + where, gradient, mask=both)


@triton.jit
def _backward_columns_kernel(
    partial, gradient, column_low, column_high, column_weight, touching_first, touching_stop,
    lines, w, W, taps, LINES: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    line = tl.program_id(0) * LINES + tl.arange(0, LINES)  # (n * C + c) * h + i
    j = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    both = (line < lines)[:, None] & (j < w)[None, :]
    first = tl.load(touching_first + j, mask=j < w, other=0)
    stop = tl.load(touching_stop + j, mask=j < w, other=0)
    total = tl.zeros([LINES, COLUMNS], tl.float32)
    for k in range(0, taps):
        x = first + k
        used = x < stop
        u = tl.load(column_weight + x, mask=used, other=0.0)
        low = tl.load(column_low + x, mask=used, other=-1)
        high = tl.load(column_high + x, mask=used, other=-1)
        share = tl.where(low == j, 1 - u, 0.0) + tl.where(high == j, u, 0.0)
        value = tl.load(partial + line.to(tl.int64)[:, None] * W + x[None, :], mask=both & used[None, :], other=0.0)
        total += value * share[None, :]
    where = line.to(tl.int64)[:, None] * w + j[None, :]
    tl.store(gradient + where, total.to(gradient.dtype.element_ty), mask=both)


class _Taps:
    """The two source samples of each fine one, the weight of the second, and the fine samples that touch each coarse.

    Attributes:
        low, high: (target,) int32.
        weight: (target,) float32, of ``high``; that of ``low`` is one minus it.
        first, stop: (source,) int32.
        longest: largest number of fine samples that touch a coarse one.
    """

    def __init__(self, along: Axis, device: torch.device) -> None:
        low = torch.tensor(along.first)
        high = torch.tensor(along.stop) - 1  # the same as low where one sample is taken as it is
        weight = torch.zeros(along.target)
        if along.matrix is not None:
            weight = torch.where(high > low, along.matrix[torch.arange(along.target), high], weight)
        coarse = torch.arange(along.source).view(-1, 1)
        touching = (low <= coarse) & (high >= coarse)  # (source, target)
        first = touching.int().argmax(dim=1)
        stop = torch.where(touching.any(1), along.target - touching.flip(1).int().argmax(dim=1), first)
        self.longest = int((stop - first).max())
        self.low, self.high, self.first, self.stop = (
            t.to(device=device, dtype=torch.int32) for t in (low, high, first, stop)
        )
        self.weight = weight.to(device=device, dtype=torch.float32)

    def of_target(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.low, self.high, self.weight


@lru_cache(maxsize=512)
def _taps_of(source: int, target: int, align_corners: bool, device: torch.device) -> _Taps:
    """The taps of one dimension, made once: a copy to the device in every step would stop it."""
    return _Taps(axis(source, target, align_corners), device)


def forward(
    logits: Tensor, label: Tensor, factor: Tensor, align_corners: bool, with_prob: bool = True
) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """Loss, prediction, probability and log-sum-exp of every pixel.

    Args:
        logits: (N, C, h, w), float32, float16 or bfloat16.
        label: (N, H, W) int64.
        factor: on the loss of each pixel, (N, H, W) float32; a pixel with factor 0 may have any label.
        align_corners: see :func:`gcseg.ops.resize`.
        with_prob: give the probabilities.

    Returns:
        loss, pred, prob, lse: (N, H, W) each, float32 and, for pred, the type of ``class_dtype``; prob may be None.
    """
    (n, c, h, w), (height, width) = logits.shape, label.shape[1:]
    rows, columns = (_taps_of(a, b, align_corners, logits.device) for a, b in ((h, height), (w, width)))
    loss, lse = (torch.empty(label.shape, dtype=torch.float32, device=logits.device) for _ in range(2))
    prob = torch.empty_like(loss) if with_prob else None
    pred = torch.empty(label.shape, dtype=class_dtype(c), device=logits.device)
    _forward_kernel[(n * height, triton.cdiv(width, _BLOCK_COLUMNS))](
        logits.contiguous(), label.contiguous(), factor.contiguous(), loss, pred, loss if prob is None else prob, lse,
        *rows.of_target(), *columns.of_target(), c, h, w, height, width, BLOCK=_BLOCK_COLUMNS, PROB=with_prob,
    )  # fmt: skip
    return loss, pred, prob, lse


def backward(logits: Tensor, label: Tensor, factor: Tensor, lse: Tensor, align_corners: bool) -> Tensor:
    """Gradient of the sum of the losses of :func:`forward`.

    Args:
        logits: as in the forward pass.
        label: as in the forward pass.
        factor: that of the forward pass times the gradient of the loss of each pixel, (N, H, W) float32.
        lse: from the forward pass.
        align_corners: as in the forward pass.

    Returns:
        (N, C, h, w), dtype of ``logits``.
    """
    (n, c, h, w), (height, width) = logits.shape, label.shape[1:]
    rows, columns = (_taps_of(a, b, align_corners, logits.device) for a, b in ((h, height), (w, width)))
    partial = torch.empty(n, c, h, width, dtype=torch.float32, device=logits.device)
    grid = (n * h, triton.cdiv(width, _BLOCK_COLUMNS), triton.cdiv(c, _BLOCK_CLASSES))
    _backward_rows_kernel[grid](
        logits.contiguous(), label.contiguous(), factor.contiguous(), lse, partial,
        *rows.of_target(), *columns.of_target(), rows.first, rows.stop,
        c, h, w, height, width, BLOCK=_BLOCK_COLUMNS, CLASSES=_BLOCK_CLASSES,
    )  # fmt: skip
    gradient = torch.empty(n, c, h, w, dtype=logits.dtype, device=logits.device)
    lines = n * c * h
    _backward_columns_kernel[(triton.cdiv(lines, 16), triton.cdiv(w, 64))](
        partial, gradient, *columns.of_target(), columns.first, columns.stop,
        lines, w, width, columns.longest, LINES=16, COLUMNS=64,
    )  # fmt: skip
    return gradient
