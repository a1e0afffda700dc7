"""Bilinear resizing, cropping and flipping as one linear map, applied to a strip of rows at a time.

Each of these steps acts on the rows and on the columns of a map separately, and so does any chain of them: the chain
is a matrix for the rows and a matrix for the columns, in which a sample of the result depends on a few neighbouring
samples of the source. A strip of the result is then two small matrix products; the whole result need never exist.

Shape legend: C channels, h x w size of the source, H x W size of the result, s rows of a strip, r rows of the source
that the strip depends on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

# A strip is worked on several times: it should stay in the cache of a core, but be worth the calls.
_STRIP_BYTES = {"cpu": 4 * 2**20}
_STRIP_BYTES_ELSEWHERE = 64 * 2**20
# Products with a dense matrix of columns cost w * W; in blocks of this many columns they cost w * W only near the
# diagonal, where the matrix has its entries.
_COLUMN_BLOCK = 512


@dataclass(frozen=True)
class Axis:
    """The map along one dimension.

    Attributes:
        source: samples of the source.
        target: samples of the result.
        matrix: (target, source); None when the result is the source.
        first: for every sample of the result, the first sample of the source that it depends on.
        stop: one behind the last of them.
    """

    source: int
    target: int
    matrix: Tensor | None
    first: tuple[int, ...]
    stop: tuple[int, ...]

    def support(self, start: int, stop: int) -> tuple[int, int]:
        """Samples of the source that ``[start, stop)`` of the result depends on, as (first, one behind the last)."""
        return min(self.first[start:stop]), max(self.stop[start:stop])


@lru_cache(maxsize=64)  # a matrix may have megabytes, and a data set thousands of sizes
def axis(
    source: int,
    target: int,
    align_corners: bool = False,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
    first_target: int | None = None,
    padding: tuple[int, int] = (0, 0),
    flip: bool = False,
) -> Axis:
    """One dimension of: resize to ``first_target``, take ``padding`` off, flip, resize to ``target``.

    Args:
        source: samples of the source.
        target: samples of the result.
        align_corners: see :func:`gcseg.ops.resize`.
        dtype: float32 or float64; the coefficients are those of ``torch.nn.functional.interpolate`` in this dtype.
        device: where the matrix is kept, so that it is copied there once; the CPU by default.
        first_target: samples after the first resize; None makes none.
        padding: samples taken off before and after.
        flip: reverse the order.
    """
    with torch.inference_mode(False), torch.no_grad():
        middle = source if first_target is None else first_target
        matrix = _resize_matrix(source, middle, align_corners, dtype)
        if any(padding):
            whole = torch.eye(middle, dtype=torch.float64) if matrix is None else matrix
            matrix = whole[padding[0] : middle - padding[1]]
            middle = matrix.shape[0]
        if flip:
            matrix = (torch.eye(middle, dtype=torch.float64) if matrix is None else matrix).flip(0)
        last = _resize_matrix(middle, target, align_corners, dtype)
        if last is not None:
            matrix = last if matrix is None else last @ matrix
        if matrix is None:
            return Axis(source, target, None, tuple(range(target)), tuple(range(1, target + 1)))
        used = matrix != 0
        # A row of zeros cannot occur: the coefficients of every sample add up to 1.
        first = used.int().argmax(dim=1)
        stop = source - used.flip(1).int().argmax(dim=1)
        kept = matrix.to(dtype).contiguous().to(device)
        return Axis(source, target, kept, tuple(first.tolist()), tuple(stop.tolist()))


def _resize_matrix(source: int, target: int, align_corners: bool, dtype: torch.dtype) -> Tensor | None:
    """Coefficients (target, source), float64 holding the values that ``dtype`` has; None when nothing changes."""
    if source == target:
        return None
    eye = torch.eye(source, dtype=dtype)[None]
    return F.interpolate(eye, size=target, mode="linear", align_corners=align_corners)[0].T.double()


class BilinearMap:
    """The map on both dimensions, for logits of one dtype on one device.

    Args:
        rows: the map of the rows, with its matrix on that device.
        columns: the map of the columns, likewise.
        dtype: what is computed in, that of the matrices.
        device: where the logits are.
        channels: channels of the logits, C; they decide on the height of a strip.
    """

    def __init__(self, rows: Axis, columns: Axis, dtype: torch.dtype, device: torch.device, channels: int) -> None:
        self.rows, self.columns, self.dtype, self.channels = rows, columns, dtype, channels
        budget = _STRIP_BYTES.get(device.type, _STRIP_BYTES_ELSEWHERE)
        self.height = max(1, budget // (channels * columns.target * dtype.itemsize))
        blocks = range(0, columns.target, _COLUMN_BLOCK)
        self._blocks = [(c, min(c + _COLUMN_BLOCK, columns.target)) for c in blocks]

    def strips(self) -> Iterator[tuple[int, int]]:
        """Rows of the result, strip by strip, as (first, one behind the last)."""
        for start in range(0, self.rows.target, self.height):
            yield start, min(start + self.height, self.rows.target)

    def apply(self, source: Tensor, start: int, stop: int) -> Tensor:
        """Rows ``start`` to ``stop`` of the result, in new memory.

        Args:
            source: (C, h, w), floating.
            start: first row.
            stop: one behind the last.

        Returns:
            (s, C, W), contiguous, of ``dtype``.
        """
        low, high = self.rows.support(start, stop)
        # A copy in any case: the layout is another one, or the caller may write into the result.
        part = source[:, low:high].transpose(0, 1).to(self.dtype, memory_format=torch.contiguous_format)
        part = part.clone() if part.data_ptr() == source.data_ptr() else part
        if self.columns.matrix is not None:
            part = self._times_columns(part)
        if self.rows.matrix is not None:
            part = (self.rows.matrix[start:stop, low:high] @ part.reshape(high - low, -1)).view(
                stop - start, *part.shape[1:]
            )
        return part

    def add_adjoint(self, gradient: Tensor, start: int, stop: int, total: Tensor) -> None:
        """Add what a gradient of a strip means for the source.

        Args:
            gradient: of rows ``start`` to ``stop`` of the result, (s, C, W).
            start: first row.
            stop: one behind the last.
            total: (h, C, w), in the dtype of ``gradient``; changed in place.
        """
        low, high = self.rows.support(start, stop)
        if self.rows.matrix is not None:
            part = self.rows.matrix[start:stop, low:high].T @ gradient.reshape(stop - start, -1)
            gradient = part.view(high - low, *gradient.shape[1:])
        if self.columns.matrix is None:
            total[low:high] += gradient
            return
        flat = gradient.reshape(-1, self.columns.target)
        for first, last in self._blocks:
            left, right = self.columns.support(first, last)
            part = flat[:, first:last] @ self.columns.matrix[first:last, left:right]
            total[low:high, :, left:right] += part.view(high - low, self.channels, right - left)

    def _times_columns(self, part: Tensor) -> Tensor:
        assert self.columns.matrix is not None
        flat = part.reshape(-1, self.columns.source)
        products = []
        for first, last in self._blocks:
            left, right = self.columns.support(first, last)
            products.append(flat[:, left:right] @ self.columns.matrix[first:last, left:right].T)
        product = products[0] if len(products) == 1 else torch.cat(products, dim=1)
        return product.view(*part.shape[:-1], self.columns.target)


def working_dtype(logits: Tensor) -> torch.dtype:
    """float64 for float64 logits, float32 for all others; float64 too where products in float32 are rounded.

    ``torch.set_float32_matmul_precision('high')`` lets float32 products keep 10 bits of their factors, which no
    interpolation may do.
    """
    if logits.dtype == torch.float64 or _float32_products_are_rounded():
        return torch.float64
    return torch.float32


def _float32_products_are_rounded() -> bool:
    try:
        return torch.get_float32_matmul_precision() != "highest"
    except RuntimeError:  # set through torch's newer switches, which do not go with this question
        return True


def resize_map(logits: Tensor, size: Sequence[int], align_corners: bool) -> BilinearMap:
    """The map that resizes logits (N, C, h, w) to ``size`` (H, W)."""
    dtype = working_dtype(logits)
    rows, columns = (
        axis(int(a), int(b), bool(align_corners), dtype, logits.device)
        for a, b in zip(logits.shape[-2:], size, strict=True)
    )
    return BilinearMap(rows, columns, dtype, logits.device, logits.shape[1])
