"""What all losses share: which pixels count, how their losses become one number, and the constructor's options."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gcseg.utils.errors import ConfigError

REDUCTIONS = ("none", "mean", "sum")
_EPS = torch.finfo(torch.float32).eps


def valid_pixels(label: Tensor, *ignore_index: int | None, num_classes: int | None = None) -> Tensor:
    """Mark the pixels that count.

    Args:
        label: class indices, (N, H, W) or any other shape, integer.
        ignore_index: labels that do not count; None is no label.
        num_classes: if given, labels outside [0, num_classes) do not count either.

    Returns:
        Boolean mask of the shape of ``label``.
    """
    mask = torch.ones_like(label, dtype=torch.bool)
    for index in ignore_index:
        if index is not None:
            mask &= label != index
    if num_classes is not None:
        mask &= (label >= 0) & (label < num_classes)
    return mask


def reduce_loss(loss: Tensor, reduction: str) -> Tensor:
    """Mean, sum, or the losses themselves.

    Args:
        loss: elementwise losses, any shape.
        reduction: ``'none'``, ``'mean'`` or ``'sum'``.

    Raises:
        ConfigError: another reduction.
    """
    check_reduction(reduction)
    if reduction == "none":
        return loss
    return loss.mean() if reduction == "mean" else loss.sum()


def weight_reduce_loss(
    loss: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    avg_factor: float | Tensor | None = None,
) -> Tensor:
    """Weigh elementwise losses and reduce them; the only reduction of all losses in this package.

    Args:
        loss: elementwise losses, any shape, floating.
        weight: factors that broadcast with ``loss``; ignored pixels have the factor 0.
        reduction: ``'none'``, ``'mean'`` or ``'sum'``.
        avg_factor: what the mean divides the sum by, instead of the number of elements. A tensor stays on its device.
            0 is allowed and gives 0 for a sum of 0.

    Returns:
        Scalar, or the shape of ``loss`` for ``'none'``.

    Raises:
        ConfigError: unknown reduction.
        ValueError: ``avg_factor`` with ``'sum'``.
    """
    check_reduction(reduction)
    if weight is not None:
        loss = loss * weight.to(loss.dtype)
    if avg_factor is None or reduction == "none":
        return reduce_loss(loss, reduction)
    if reduction == "sum":
        raise ValueError("avg_factor was given with reduction='sum'; a sum has no divisor, use reduction='mean'")
    if isinstance(avg_factor, Tensor):  # an integer tensor would divide in float32 even when the loss is float64
        avg_factor = avg_factor.to(torch.promote_types(loss.dtype, torch.float32))
    return loss.sum() / (avg_factor + _EPS)


def weighted_loss(loss_func: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Give an elementwise loss the options of :func:`weight_reduce_loss`; a decorator.

    Args:
        loss_func: ``f(pred, target, **options)``, which returns elementwise losses of any shape.

    Returns:
        ``f(pred, target, weight=None, reduction='mean', avg_factor=None, **options)``, which returns a scalar, or
        elementwise losses for ``'none'``.
    """

    @wraps(loss_func)
    def weighted(
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        reduction: str = "mean",
        avg_factor: float | Tensor | None = None,
        **options: Any,
    ) -> Tensor:
        return weight_reduce_loss(loss_func(pred, target, **options), weight, reduction, avg_factor)

    return weighted


def check_reduction(reduction: str) -> None:
    """Raise ConfigError unless ``reduction`` is one of :data:`REDUCTIONS`."""
    if reduction not in REDUCTIONS:
        raise ConfigError(f"reduction={reduction!r} of a loss; allowed are {', '.join(map(repr, REDUCTIONS))}")


def get_class_weight(class_weight: Sequence[float] | str | Path | None) -> list[float] | None:
    """Read class weights from a list or a file.

    Args:
        class_weight: the weights, or the name of a ``.npy``, ``.json``, ``.yaml``/``.yml`` or ``.txt`` file (numbers
            separated by blanks, commas or line ends). Pickles are refused: opening one executes what it contains.

    Returns:
        One non-negative finite number per class, or None for None.

    Raises:
        ConfigError: another kind of file, an unreadable one, or weights that are no such numbers.
    """
    if class_weight is None:
        return None
    origin = "class_weight"
    values: object = class_weight
    if isinstance(class_weight, (str, Path)):
        path = Path(class_weight)
        origin = f"class_weight file {path}"
        values = _read_numbers(path)
    if hasattr(values, "tolist"):
        values = values.tolist()
    if not isinstance(values, (list, tuple)) or not all(isinstance(v, (int, float)) for v in values) or not values:
        raise ConfigError(f"{origin}: received {str(values)[:80]!r}; needed is a list with one number per class")
    if not all(math.isfinite(v) and v >= 0 for v in values):
        raise ConfigError(f"{origin}: received {list(values)}; every weight must be finite and at least 0")
    return [float(v) for v in values]


def _read_numbers(path: Path) -> object:
    readers = {".npy": _read_npy, ".json": _read_json, ".yaml": _read_yaml, ".yml": _read_yaml, ".txt": _read_txt}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(
            f"class_weight file {path}: the ending {path.suffix!r} is not read (a pickle could execute code); "
            f"allowed are {', '.join(readers)}. Save the numbers as .json or with numpy.save"
        )
    try:
        return reader(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"class_weight file {path} cannot be read: {error}") from error


def _read_npy(path: Path) -> object:
    import numpy as np

    return np.load(path, allow_pickle=False)


def _read_json(path: Path) -> object:
    return json.loads(path.read_text(encoding="utf-8"))


def _read_yaml(path: Path) -> object:
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _read_txt(path: Path) -> object:
    return [float(word) for word in path.read_text(encoding="utf-8").replace(",", " ").split()]


def starts_from_cross_entropy(module: nn.Module) -> bool:
    """Whether a loss or a pixel sampler can do without logits, see :class:`SegLoss`.

    Not where a sub-class changed what it makes of logits and left what it makes of their cross-entropy as it was.
    """
    if not getattr(module, "starts_from_cross_entropy", False):
        return False
    whole = "sample" if hasattr(module, "sample") else "forward"
    owners = [next(c for c in type(module).__mro__ if name in vars(c)) for name in (whole, "from_cross_entropy")]
    return owners[0] is owners[1]


class SegLoss(nn.Module):
    """Base of the losses: the options they share.

    A subclass computes ``forward(cls_score, label, weight=None, avg_factor=None, reduction_override=None,
    ignore_index=255)`` from raw logits (N, C, H, W) and class indices (N, H, W).

    Args:
        reduction: ``'none'``, ``'mean'`` or ``'sum'``.
        class_weight: one weight per class, or a file with them, see :func:`get_class_weight`.
        loss_weight: factor on the result.
        loss_name: key of the loss in the log; it takes part in the gradient only if it contains ``loss``.

    Attributes:
        starts_from_cross_entropy: whether the loss is made of the softmax cross-entropy of each pixel, so that it can
            do without logits: ``from_cross_entropy(loss, label, channels, weight, avg_factor, reduction_override,
            ignore_index)`` then gives the same as ``forward``. A head that has only such losses never resizes its
            logits; for any other loss it resizes them to the size of the labels.
    """

    starts_from_cross_entropy = False

    def __init__(
        self,
        reduction: str,
        class_weight: Sequence[float] | str | Path | None,
        loss_weight: float,
        loss_name: str,
    ) -> None:
        super().__init__()
        check_reduction(reduction)
        self.reduction = reduction
        self.class_weight = get_class_weight(class_weight)
        self.loss_weight = loss_weight
        self._loss_name = loss_name
        self._constants: dict[str, Tensor] = {}

    @property
    def loss_name(self) -> str:
        """Key of the loss in the log."""
        return self._loss_name

    def extra_repr(self) -> str:
        """Options that are not modules, for ``print(model)``."""
        return f"reduction={self.reduction!r}, loss_weight={self.loss_weight}, loss_name={self.loss_name!r}"

    def _reduction(self, override: str | None) -> str:
        if override is None:
            return self.reduction
        check_reduction(override)
        return override

    def _class_weights(self, like: Tensor, channels: int) -> Tensor | None:
        """The class weights as a tensor (channels,) with dtype and device of ``like``."""
        if self.class_weight is None:
            return None
        if len(self.class_weight) != channels:
            raise ValueError(
                f"{type(self).__name__}: class_weight has {len(self.class_weight)} numbers but the logits have "
                f"{channels} channels; give one weight per class"
            )
        return self._constant("class_weight", self.class_weight, like)

    def _constant(self, name: str, values: Sequence[float], like: Tensor) -> Tensor:
        """Numbers as a tensor with dtype and device of ``like``, made once: a copy in every step would stop a GPU."""
        cached = self._constants.get(name)
        if cached is None or cached.dtype != like.dtype or cached.device != like.device:
            cached = self._constants[name] = like.new_tensor(values)
        return cached


def check_shapes(name: str, cls_score: Tensor, label: Tensor) -> None:
    """Raise ValueError unless ``label`` (N, ...) has the shape of ``cls_score`` (N, C, ...) without its dimension 1."""
    if cls_score.ndim != label.ndim + 1 or cls_score.shape[:1] + cls_score.shape[2:] != label.shape:
        raise ValueError(
            f"{name}: logits are {tuple(cls_score.shape)} but labels are {tuple(label.shape)}; needed are (N, C, H, W) "
            "and (N, H, W): resize the logits to the labels first"
        )
