"""Blocks with a context of its own for every position: pairwise modelling, and the non-local block.

Shape legend: N batch, C input channels, D embedded channels, L positions (queries), S keys (L, or fewer).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

from gcseg.models.context.framework import BaseContext, Transform, check_choice, check_count
from gcseg.models.context.pairwise import (
    MODES,
    concatenation_affinity,
    dot_product_affinity,
    softmax_affinity,
)
from gcseg.models.context.transform import CONVS

NormLayer = Callable[[int], nn.Module]
ConvLayer = Callable[..., nn.Module]
# In a video, time stays as it is.
_HALVE: dict[int, Callable[[], nn.Module]] = {
    1: lambda: nn.MaxPool1d(2),
    2: lambda: nn.MaxPool2d(2),
    3: lambda: nn.MaxPool3d((1, 2, 2)),
}


class PairwiseContext(BaseContext):
    """Every position gathers from every position (Wang et al. 2018, arXiv 1711.07971), transformed and fused.

    ``c_i = sum_j affinity(theta(x_i), phi(x_j)) g(x_j)``. Only ``"concatenation"`` makes an (L, S) matrix on purpose:
    the gaussian modes use :func:`torch.nn.functional.scaled_dot_product_attention`, whose fast kernels do not, and the
    product of ``"dot_product"`` is taken from the right.

    Args:
        in_channels: C.
        transform: from D channels to C: ``"linear"`` or ``"bottleneck"``, see
            :func:`~gcseg.models.context.transform.make_transform`; or a function that makes a Sequential from the
            channels in and out.
        fusion: ``"add"``, ``"scale"`` (by a sigmoid) or ``"both"``.
        ratio: a bottleneck has ``int(in_channels * ratio)`` channels inside; 1/4 by default.
        layer_norm: whether a bottleneck normalises over the channels; it does by default.
        mode: ``"gaussian"``, ``"embedded_gaussian"``, ``"dot_product"`` or ``"concatenation"``.
        reduction: D is ``max(in_channels // reduction, 1)``.
        use_scale: divide the scores of ``"embedded_gaussian"`` by the square root of D.
        sub_sample: halve keys and values along the last two axes by max pooling.
        zeros_init: the last layers of the transforms start at zero: addition alone is the identity at first, scaling
            halves.
        conv_layer: makes the 1x1 convolutions, called like ``torch.nn.Conv2d``, which is the default.
        dims: number of axes of the positions, 1, 2 or 3.

    Raises:
        ValueError: an unknown option, or options that do not fit each other.
    """

    def __init__(
        self,
        in_channels: int,
        transform: Transform = "linear",
        fusion: str = "add",
        *,
        ratio: float | None = None,
        layer_norm: bool | None = None,
        mode: str = "embedded_gaussian",
        reduction: int = 2,
        use_scale: bool = True,
        sub_sample: bool = False,
        zeros_init: bool = True,
        conv_layer: ConvLayer | None = None,
        dims: int = 2,
    ) -> None:
        super().__init__(in_channels, dims)
        check_choice("mode", mode, MODES)
        check_count("reduction", reduction)
        self.reduction = reduction
        self.use_scale = use_scale
        self.mode = mode
        self.sub_sample = sub_sample
        self.zeros_init = zeros_init
        self.inter_channels = max(in_channels // reduction, 1)
        conv = conv_layer or CONVS[dims]

        def embedding() -> nn.Sequential:
            return nn.Sequential(OrderedDict(conv=conv(in_channels, self.inter_channels, kernel_size=1)))

        self.g = embedding()
        self._add_transforms(self.inter_channels, transform, fusion, ratio, layer_norm)
        self.theta = embedding() if mode != "gaussian" else None
        self.phi = embedding() if mode != "gaussian" else None
        self.concat_project: nn.Sequential | None = None
        if mode == "concatenation":
            project = nn.Conv2d(2 * self.inter_channels, 1, kernel_size=1, bias=False)
            self.concat_project = nn.Sequential(OrderedDict(conv=project))
        self.init_weights()
        if sub_sample:
            pool = _HALVE[dims]()
            self.g = nn.Sequential(self.g, pool)
            self.phi = nn.Sequential(self.phi, pool) if self.phi is not None else pool

    def init_weights(self, std: float = 0.01) -> None:
        """Start as published: embeddings from a normal distribution, and with ``zeros_init`` no context at first.

        Args:
            std: standard deviation of the weights of ``g``, ``theta`` and ``phi``.
        """
        for embedding in (self.g, self.theta, self.phi):
            for module in embedding.modules() if embedding is not None else ():
                if hasattr(module, "weight"):
                    _init_normal(module, std)
        if self.concat_project is not None:
            nn.init.kaiming_normal_(self.concat_project.conv.weight, mode="fan_out", nonlinearity="relu")
        if self.zeros_init:
            self.zero_transforms()

    def context(self, x: Tensor) -> Tensor:
        """What each position gathers: (N, C, *positions) to (N, D, *positions).

        Raises:
            ValueError: with ``sub_sample``, fewer than two rows or columns.
        """
        positions = x.shape[2:]
        if self.sub_sample:
            _check_halves(positions, type(self).__name__)
        value = self.g(x).flatten(2).transpose(1, 2)  # N S D
        return self._gather(x, value).transpose(1, 2).unflatten(2, positions)

    def _gather(self, x: Tensor, value: Tensor) -> Tensor:
        """What each position gathers: (N, C, *positions) features and (N, S, D) values to (N, L, D)."""
        query, key = self._query_and_key(x)
        if self.mode == "concatenation":
            return self.affinity(query, key) @ value
        if self.mode == "dot_product":
            # Half of the division comes before the sum over the positions, which float16 could not hold, and half of
            # it after, so that small values stay above its smallest number.
            root = key.shape[-1] ** 0.5
            return query @ (key @ (value / root) / root)
        # One head. The fast kernels want rows without gaps, which channels_last features have already, and values as
        # wide as queries, which those of mode "gaussian" are not.
        if self.theta is None:
            value = F.pad(value, (0, self.in_channels - self.inter_channels))
        query, key, value = (t.unsqueeze(1).contiguous() for t in (query, key.transpose(1, 2), value))
        gathered = F.scaled_dot_product_attention(query, key, value, scale=1 / self._divisor()).squeeze(1)
        return gathered[..., : self.inter_channels]

    def _query_and_key(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Queries (N, L, D) and keys (N, D, S) of (N, C, *positions); D is C in mode ``"gaussian"``."""
        query = self.theta(x) if self.theta is not None else x
        key = self.phi(x) if self.phi is not None else x
        return query.flatten(2).transpose(1, 2), key.flatten(2)

    def affinity(self, query: Tensor, key: Tensor) -> Tensor:
        """How much each query attends to each key.

        Args:
            query: (N, L, D).
            key: (N, D, S).

        Returns:
            (N, L, S); rows sum to one in the two gaussian modes.
        """
        if self.mode == "dot_product":
            return dot_product_affinity(query, key)
        if self.concat_project is not None:
            return concatenation_affinity(query, key, self.concat_project.conv.weight)
        return softmax_affinity(query, key, self._divisor())

    def attention_maps(self, x: Tensor) -> Tensor:
        """How much each position attends to each other one; for inspection, :meth:`forward` makes no such matrix.

        Args:
            x: features, (N, C, *positions).

        Returns:
            (N, L, S), see :meth:`affinity`; positions in the order of ``flatten``.
        """
        return self.affinity(*self._query_and_key(x))

    def _divisor(self) -> float:
        return self.inter_channels**0.5 if self.mode == "embedded_gaussian" and self.use_scale else 1.0

    def extra_repr(self) -> str:
        """Options shown by ``print``."""
        return (
            f"mode={self.mode!r}, use_scale={self.use_scale}, sub_sample={self.sub_sample}, "
            f"transform={self.transform!r}, fusion={self.fusion!r}"
        )


class NonLocal(PairwiseContext):
    """Non-local (NL) block: pairwise modelling, linear transform, addition (Wang et al. 2018, arXiv 1711.07971).

    ``z = x + Wz(sum_j affinity(theta(x_i), phi(x_j)) g(x_j))``. The last layer (``conv_out``, or its normalisation)
    starts at zero unless told otherwise: a new block is the identity.

    Parameter names are those of mmcv's ``NonLocal2d``: ``g``, ``theta``, ``phi``, ``conv_out``, ``concat_project``,
    each with ``.conv``; ``conv_out`` with ``.bn`` (or ``norm_name``); ``g.0`` and ``phi.0`` with ``sub_sample``.

    Args:
        in_channels: C.
        reduction: D is ``max(in_channels // reduction, 1)``.
        use_scale: divide the scores of ``"embedded_gaussian"`` by the square root of D.
        mode: ``"gaussian"``, ``"embedded_gaussian"``, ``"dot_product"`` or ``"concatenation"``.
        sub_sample: halve keys and values along the last two axes by max pooling.
        zeros_init: start as the identity; otherwise ``conv_out`` starts at random.
        norm_layer: makes the normalisation after ``conv_out`` from its number of channels; ``None``: no normalisation.
        norm_name: name of that normalisation in the state dict.
        conv_layer: makes the 1x1 convolutions, called like ``torch.nn.Conv2d``, which is the default.
        dims: number of axes of the positions, 1, 2 or 3.

    Raises:
        ValueError: an unknown mode.
    """

    add_name = "conv_out"

    def __init__(
        self,
        in_channels: int,
        reduction: int = 2,
        use_scale: bool = True,
        mode: str = "embedded_gaussian",
        *,
        sub_sample: bool = False,
        zeros_init: bool = True,
        norm_layer: NormLayer | None = None,
        norm_name: str = "bn",
        conv_layer: ConvLayer | None = None,
        dims: int = 2,
    ) -> None:
        def transform(source: int, target: int) -> nn.Sequential:
            conv = conv_layer or CONVS[dims]
            layers = OrderedDict(conv=conv(source, target, kernel_size=1, bias=norm_layer is None))
            if norm_layer is not None:
                layers[norm_name] = norm_layer(target)
            return nn.Sequential(layers)

        super().__init__(
            in_channels,
            transform,
            "add",
            mode=mode,
            reduction=reduction,
            use_scale=use_scale,
            sub_sample=sub_sample,
            zeros_init=zeros_init,
            conv_layer=conv_layer,
            dims=dims,
        )
        self.transform = "linear"

    def init_weights(self, std: float = 0.01) -> None:
        """Start as published: embeddings from a normal distribution, the last layer at zero.

        Args:
            std: standard deviation of the weights of ``g``, ``theta`` and ``phi`` (and of ``conv_out`` if it does not
                start at zero).
        """
        if len(self.conv_out) > 1:
            nn.init.kaiming_normal_(self.conv_out.conv.weight, mode="fan_out", nonlinearity="relu")
        if not self.zeros_init:
            _init_normal(self.conv_out[-1], std)
        super().init_weights(std)


@torch.fx.wrap  # see check_features
def _check_halves(positions: Sequence[int], name: str) -> None:
    if min(positions[-2:]) < 2:
        raise ValueError(
            f"{name}: sub_sample halves the features, which are {tuple(positions)} (H, W); use larger images or "
            "sub_sample=False"
        )


def _init_normal(module: nn.Module, std: float) -> None:
    nn.init.normal_(module.weight, 0.0, std)
    if module.bias is not None:
        nn.init.zeros_(module.bias)
