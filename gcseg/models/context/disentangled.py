"""The disentangled non-local (DNL) block."""

from __future__ import annotations

import torch.fx
from torch import Tensor, nn

from gcseg.models.context.non_local import ConvLayer, NonLocal, NormLayer
from gcseg.models.context.pooling import attention_pool

torch.fx.wrap("attention_pool")


class DisentangledNonLocal2d(NonLocal):
    """Non-local block whose pairwise and unary attention are learnt apart (Yin et al. 2020, arXiv 2006.06668, eq. 8).

    Queries and keys are centred over the positions before they are compared (pairwise term); a single attention map per
    image (``conv_mask``) gathers the values once more (unary term); both sums are added.

    Args:
        in_channels: C.
        reduction: embedded channels are ``max(in_channels // reduction, 1)``.
        use_scale: divide the scores of ``"embedded_gaussian"`` by the square root of the embedded channels.
        mode: as in :class:`NonLocal`.
        temperature: divides the scores of ``"embedded_gaussian"``; the other modes do not use it.
        zeros_init: start as the identity.
        norm_layer: as in :class:`NonLocal`.
        norm_name: as in :class:`NonLocal`.
        conv_layer: as in :class:`NonLocal`.

    Raises:
        ValueError: an unknown mode, or a temperature that is not positive.
    """

    def __init__(
        self,
        in_channels: int,
        reduction: int = 2,
        use_scale: bool = True,
        mode: str = "embedded_gaussian",
        *,
        temperature: float = 0.05,
        zeros_init: bool = True,
        norm_layer: NormLayer | None = None,
        norm_name: str = "bn",
        conv_layer: ConvLayer | None = None,
    ) -> None:
        if temperature <= 0:
            raise ValueError(f"temperature: received {temperature}, allowed are numbers above 0 (published: 0.05)")
        super().__init__(
            in_channels,
            reduction,
            use_scale,
            mode,
            zeros_init=zeros_init,
            norm_layer=norm_layer,
            norm_name=norm_name,
            conv_layer=conv_layer,
        )
        self.temperature = temperature
        self.conv_mask = nn.Conv2d(in_channels, 1, kernel_size=1)

    def _gather(self, x: Tensor, value: Tensor) -> Tensor:
        unary = attention_pool(value.transpose(1, 2).unflatten(2, x.shape[-2:]), self.conv_mask(x))  # N D 1 1
        return super()._gather(x, value) + unary.flatten(2).transpose(1, 2)

    def _query_and_key(self, x: Tensor) -> tuple[Tensor, Tensor]:
        query, key = super()._query_and_key(x)
        return query - query.mean(1, keepdim=True), key - key.mean(2, keepdim=True)

    def _divisor(self) -> float:
        if self.mode != "embedded_gaussian":
            return 1.0
        # The published weights were trained with these two constants in float32; rounding them likewise gives the same
        # numbers in every dtype.
        scale = torch.tensor(super()._divisor(), dtype=torch.float32)
        return scale.item() * torch.tensor(self.temperature, dtype=torch.float32).item()
