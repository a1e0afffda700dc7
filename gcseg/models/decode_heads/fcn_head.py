"""The fully convolutional head."""

from __future__ import annotations

from typing import Any

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn

from gcseg.models.decode_heads.decode_head import BaseDecodeHead, Features
from gcseg.registry import MODELS
from gcseg.utils import ConfigError


@MODELS.register_module()
class FCNHead(BaseDecodeHead):
    """Convolutions, then a classification of each position (Long et al. 2015, arXiv 1411.4038).

    Args:
        num_convs: convolutions before the classification.
        kernel_size: of all convolutions here.
        concat_input: after them, concatenate the input once more and convolve.
        dilation: of the convolutions (not of the one after the concatenation).
        **kwargs: see :class:`~gcseg.models.decode_heads.decode_head.BaseDecodeHead`.

    Raises:
        ConfigError: options that do not fit each other.
    """

    def __init__(
        self,
        num_convs: int = 2,
        kernel_size: int = 3,
        concat_input: bool = True,
        dilation: int = 1,
        **kwargs: Any,
    ) -> None:
        if num_convs < 0 or dilation < 1:
            raise ConfigError(f"num_convs={num_convs}, dilation={dilation}: allowed are at least 0 and at least 1")
        super().__init__(**kwargs)
        if not isinstance(self.in_channels, int):
            raise ConfigError(
                f"input_transform={self.input_transform!r}: {type(self).__name__} works on one feature map; use "
                "'resize_concat', or None with one in_index"
            )
        if num_convs == 0 and self.in_channels != self.channels:
            raise ConfigError(
                f"num_convs=0 leaves the {self.in_channels} channels of the input as they are, but channels is "
                f"{self.channels}; make them equal"
            )
        self.num_convs = num_convs
        self.kernel_size = kernel_size
        self.concat_input = concat_input
        sources = [self.in_channels] + [self.channels] * (num_convs - 1)
        convs = [self._conv(source, kernel_size, dilation) for source in sources[:num_convs]]
        self.convs = nn.Sequential(*convs) if convs else nn.Identity()
        if concat_input:
            self.conv_cat = self._conv(self.in_channels + self.channels, kernel_size)

    def _conv(self, source: int, kernel_size: int, dilation: int = 1) -> ConvModule:
        return ConvModule(
            source,
            self.channels,
            kernel_size=kernel_size,
            padding=kernel_size // 2 * dilation,
            dilation=dilation,
            conv_cfg=self.conv_cfg,
            norm_cfg=self.norm_cfg,
            act_cfg=self.act_cfg,
        )

    def _forward_convs(self, x: Tensor) -> Tensor:
        """The convolutions: (N, in_channels, h, w) to (N, channels, h, w). Sub-classes put blocks between them."""
        return self.convs(x)

    def _forward_feature(self, inputs: Features) -> Tensor:
        """Features before the classification, (N, channels, h, w)."""
        x = self._transform_inputs(inputs)
        feats = self._forward_convs(x)
        if self.concat_input:
            feats = self.conv_cat(torch.cat([x, feats], dim=1))
        return feats

    def forward(self, inputs: Features) -> Tensor:
        """Score each class at each position.

        Args:
            inputs: feature maps, (N, C_i, h_i, w_i) each, or the one that the head uses, (N, in_channels, h, w).

        Returns:
            Raw logits, (N, out_channels, h, w) for an odd ``kernel_size``.
        """
        return self.cls_seg(self._forward_feature(inputs))
