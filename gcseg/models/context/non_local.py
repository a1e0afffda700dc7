"""The non-local (NL) block.

Shape legend: N batch, C input channels, D embedded channels, L = H * W queries, S keys (L, or a quarter of it).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor, nn

from gcseg.models.context.pairwise import (
    MODES,
    concatenation_affinity,
    dot_product_affinity,
    softmax_affinity,
)

NormLayer = Callable[[int], nn.Module]
ConvLayer = Callable[..., nn.Module]


class NonLocal2d(nn.Module):
    """Non-local block: every position attends to every position (Wang et al. 2018, arXiv 1711.07971).

    ``z = x + Wz(sum_j affinity(theta(x_i), phi(x_j)) g(x_j))``. The last layer (``conv_out``, or its normalisation)
    starts at zero unless told otherwise: a new block is the identity. Memory grows with (H * W) squared.

    Parameter names are those of mmcv's ``NonLocal2d``: ``g``, ``theta``, ``phi``, ``conv_out``, ``concat_project``,
    each with ``.conv``; ``conv_out`` with ``.bn`` (or ``norm_name``); ``g.0`` and ``phi.0`` with ``sub_sample``.

    Args:
        in_channels: C.
        reduction: D is ``max(in_channels // reduction, 1)``.
        use_scale: divide the scores of ``"embedded_gaussian"`` by the square root of D.
        mode: ``"gaussian"``, ``"embedded_gaussian"``, ``"dot_product"`` or ``"concatenation"``.
        sub_sample: halve the height and the width of keys and values by max pooling.
        zeros_init: start as the identity; otherwise ``conv_out`` starts at random.
        norm_layer: makes the normalisation after ``conv_out`` from its number of channels; ``None``: no normalisation.
        norm_name: name of that normalisation in the state dict.
        conv_layer: makes the 1x1 convolutions, called like ``torch.nn.Conv2d``.

    Raises:
        ValueError: an unknown mode.
    """

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
        conv_layer: ConvLayer = nn.Conv2d,
    ) -> None:
        super().__init__()
        if mode not in MODES:
            raise ValueError(f"mode: received {mode!r}, allowed are {', '.join(MODES)}")
        self.in_channels = in_channels
        self.reduction = reduction
        self.use_scale = use_scale
        self.mode = mode
        self.sub_sample = sub_sample
        self.zeros_init = zeros_init
        self.inter_channels = max(in_channels // reduction, 1)

        def embedding() -> nn.Sequential:
            return nn.Sequential(OrderedDict(conv=conv_layer(in_channels, self.inter_channels, kernel_size=1)))

        has_norm = norm_layer is not None
        out_layers = OrderedDict(
            conv=conv_layer(self.inter_channels, in_channels, kernel_size=1, bias=not has_norm),
        )
        if norm_layer is not None:
            out_layers[norm_name] = norm_layer(in_channels)
        self.g = embedding()
        self.conv_out = nn.Sequential(out_layers)
        self.theta = embedding() if mode != "gaussian" else None
        self.phi = embedding() if mode != "gaussian" else None
        self.concat_project: nn.Sequential | None = None
        if mode == "concatenation":
            project = nn.Conv2d(2 * self.inter_channels, 1, kernel_size=1, bias=False)
            self.concat_project = nn.Sequential(OrderedDict(conv=project))
        self.init_weights()
        if sub_sample:
            pool = nn.MaxPool2d(kernel_size=2)
            self.g = nn.Sequential(self.g, pool)
            self.phi = nn.Sequential(self.phi, pool) if self.phi is not None else pool

    def init_weights(self, std: float = 0.01) -> None:
        """Start as published: embeddings from a normal distribution, the last layer at zero.

        Args:
            std: standard deviation of the weights of ``g``, ``theta`` and ``phi`` (and of ``conv_out`` if it does not
                start at zero).
        """
        for embedding in (self.g, self.theta, self.phi):
            for module in embedding.modules() if embedding is not None else ():
                if isinstance(module, nn.Conv2d):
                    _init_normal(module, std)
        if self.concat_project is not None:
            nn.init.kaiming_normal_(self.concat_project.conv.weight, mode="fan_out", nonlinearity="relu")
        last = self.conv_out[-1]
        if len(self.conv_out) > 1:
            nn.init.kaiming_normal_(self.conv_out.conv.weight, mode="fan_out", nonlinearity="relu")
        if self.zeros_init:
            for parameter in last.parameters():
                nn.init.zeros_(parameter)
        else:
            _init_normal(last, std)

    def forward(self, x: Tensor) -> Tensor:
        """Add to each position what it gathers from all positions.

        Args:
            x: features, (N, C, H, W), floating; at least 2 x 2 positions with ``sub_sample``.

        Returns:
            (N, C, H, W).

        Raises:
            ValueError: fewer than 2 x 2 positions with ``sub_sample``.
        """
        if self.sub_sample and min(x.shape[-2:]) < 2:
            raise ValueError(
                f"NonLocal2d: sub_sample halves the features, which are {tuple(x.shape[-2:])} (H, W); "
                "use larger images or sub_sample=False"
            )
        value = self.g(x).flatten(2).transpose(1, 2)  # N S D
        context = self._gather(x, value).transpose(1, 2)  # N D L
        context = context.reshape(x.shape[0], self.inter_channels, *x.shape[-2:])
        return x + self.conv_out(context)

    def _gather(self, x: Tensor, value: Tensor) -> Tensor:
        """What each position gathers: (N, C, H, W) features and (N, S, D) values to (N, L, D)."""
        return self.affinity(*self._query_and_key(x)) @ value

    def _query_and_key(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Queries (N, L, D) and keys (N, D, S) of features (N, C, H, W); D is C in mode ``"gaussian"``."""
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

    def _divisor(self) -> float:
        return self.inter_channels**0.5 if self.mode == "embedded_gaussian" and self.use_scale else 1.0

    def extra_repr(self) -> str:
        """Options shown by ``print``."""
        return f"mode={self.mode!r}, use_scale={self.use_scale}, sub_sample={self.sub_sample}"


def _init_normal(module: nn.Module, std: float) -> None:
    nn.init.normal_(module.weight, 0.0, std)
    if module.bias is not None:
        nn.init.zeros_(module.bias)
