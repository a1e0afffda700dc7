"""Residual blocks and the stages made of them.

He et al. 2016 (arXiv 1512.03385, fig. 5); the plugins' places are those of Cao et al. 2019 (arXiv 1904.11492).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, ClassVar

import torch
from mmcv.cnn import build_conv_layer, build_norm_layer
from mmengine.model import BaseModule, Sequential
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gcseg.models.backbones.layers import (
    POSITIONS,
    add_plugins,
    build_deformable_conv,
    frozen_running_statistics,
    group_by_position,
)
from gcseg.utils import ConfigError

STYLES = ("pytorch", "caffe")


class ResidualBlock(BaseModule):
    """``ReLU(plugins(branch(x) + shortcut(x)))``; a sub-class adds the layers of the branch with :meth:`_add_unit`.

    A unit is convolution, normalisation, ReLU (the last unit has none), then the plugins of its place in their order.
    Plugins ``after_add`` stand between the addition and the last ReLU.

    Args:
        inplanes: channels of the input.
        planes: channels inside; the output has ``planes * expansion``.
        stride: of the block.
        dilation: of its first 3x3 convolution.
        downsample: shortcut; ``None`` is the identity.
        style: ``"pytorch"``: the 3x3 convolution carries the stride; ``"caffe"``: the first 1x1 convolution does.
            A BasicBlock has no 1x1 convolution: both mean the same.
        with_cp: keep only the block's input and compute the rest again in the backward pass; the running statistics of
            batch normalisation are taken once, as without it.
        conv_cfg: config of the convolutions, ``None`` for ``Conv2d``.
        norm_cfg: config of the normalisations, ``None`` for ``dict(type='BN')``.
        dcn: config of a deformable convolution in the place of the 3x3 one (Bottleneck only).
        plugins: ``dict(cfg=..., position='after_conv1' | 'after_conv2' | 'after_conv3' | 'after_add')`` each.
        init_cfg: mmengine initialisation config.

    Raises:
        ConfigError: an option that the block does not have.
    """

    expansion: ClassVar[int] = 1
    num_units: ClassVar[int] = 0

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        dilation: int = 1,
        downsample: nn.Module | None = None,
        style: str = "pytorch",
        with_cp: bool = False,
        conv_cfg: dict | None = None,
        norm_cfg: dict | None = None,
        dcn: dict | None = None,
        plugins: Sequence[dict] | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if style not in STYLES:
            raise ConfigError(f"style: received {style!r}, allowed are {', '.join(STYLES)}")
        self.inplanes = inplanes
        self.planes = planes
        self.stride = stride
        self.dilation = dilation
        self.style = style
        self.with_cp = with_cp
        self.conv_cfg = conv_cfg
        self.norm_cfg = norm_cfg if norm_cfg is not None else dict(type="BN")
        self.dcn = dcn
        self._plugins: list[list[str]] = []  # names, by position
        self._unit_channels: list[int] = []
        self._add_units()
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample
        positions = (*POSITIONS[: self.num_units], POSITIONS[-1])
        grouped = group_by_position(plugins, positions, type(self).__name__)
        for position, channels in zip(positions, [*self._unit_channels, self._unit_channels[-1]], strict=True):
            self._plugins.append(add_plugins(self, grouped[position], channels))

    def _add_units(self) -> None:
        raise NotImplementedError

    def _add_unit(
        self, in_channels: int, out_channels: int, kernel_size: int, *, deformable: bool = False, **conv: Any
    ) -> None:
        """Register convolution and normalisation number ``len(units) + 1`` as ``conv{n}`` and, usually, ``bn{n}``."""
        number = len(self._unit_channels) + 1
        if deformable and self.dcn is not None:
            dcn = {key: value for key, value in self.dcn.items() if key != "fallback_on_stride"}
            layer = build_deformable_conv(dcn, in_channels, out_channels, kernel_size, bias=False, **conv)
        else:
            layer = build_conv_layer(self.conv_cfg, in_channels, out_channels, kernel_size, bias=False, **conv)
        norm_name, norm = build_norm_layer(self.norm_cfg, out_channels, postfix=number)
        self.add_module(f"conv{number}", layer)
        self.add_module(norm_name, norm)
        setattr(self, f"norm{number}_name", norm_name)
        self._unit_channels.append(out_channels)

    def norm(self, number: int) -> nn.Module:
        """Normalisation after convolution ``number``, counted from one."""
        return getattr(self, getattr(self, f"norm{number}_name"))

    @property
    def norm1(self) -> nn.Module:
        """Normalisation after the first convolution."""
        return self.norm(1)

    @property
    def norm2(self) -> nn.Module:
        """Normalisation after the second convolution."""
        return self.norm(2)

    def _branch_plus_shortcut(self, x: Tensor) -> Tensor:
        out = x
        *of_units, after_last, after_add = self._plugins
        for number, plugins in enumerate([*of_units, after_last], 1):  # torch.compile of torch 2.4 knows no start=
            out = self.norm(number)(getattr(self, f"conv{number}")(out))
            if number < self.num_units:
                out = self.relu(out)
            out = self._through(plugins, out)
        identity = x if self.downsample is None else self.downsample(x)
        # In place saves a tensor, but what a plugin returns may be needed by its own backward pass.
        out = out + identity if after_last else out.add_(identity)
        return self._through(after_add, out)

    def _through(self, plugins: Sequence[str], x: Tensor) -> Tensor:
        for name in plugins:
            x = getattr(self, name)(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block.

        Args:
            x: (N, inplanes, H, W), floating.

        Returns:
            (N, planes * expansion, ceil(H / stride), ceil(W / stride)).
        """
        if self.with_cp and self.training and torch.is_grad_enabled():
            out = checkpoint(
                self._branch_plus_shortcut,
                x,
                use_reentrant=False,
                context_fn=lambda: (nullcontext(), frozen_running_statistics(self)),
            )
        else:
            out = self._branch_plus_shortcut(x)
        return out.relu() if self._plugins[-1] else self.relu(out)


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions (ResNet-18, 34); no plugins ``after_conv3``. See :class:`ResidualBlock`."""

    expansion = 1
    num_units = 2

    def _add_units(self) -> None:
        if self.dcn is not None:
            raise ConfigError(
                "dcn: a BasicBlock (ResNet-18 and 34) has no deformable form; use depth 50, 101 or 152, or remove dcn"
            )
        self._add_unit(self.inplanes, self.planes, 3, stride=self.stride, padding=self.dilation, dilation=self.dilation)
        self._add_unit(self.planes, self.planes, 3, padding=1)


class Bottleneck(ResidualBlock):
    """1x1, 3x3 and 1x1 convolution (ResNet-50 and deeper), ``4 * planes`` channels out. See :class:`ResidualBlock`."""

    expansion = 4
    num_units = 3

    @property
    def norm3(self) -> nn.Module:
        """Normalisation after the third convolution."""
        return self.norm(3)

    def _add_units(self) -> None:
        deformable = self.dcn is not None and not self.dcn.get("fallback_on_stride", False)
        if deformable and self.conv_cfg is not None:
            raise ConfigError("dcn and conv_cfg exclude each other; remove one of them from the backbone")
        stride1, stride2 = (1, self.stride) if self.style == "pytorch" else (self.stride, 1)
        self._add_unit(self.inplanes, self.planes, 1, stride=stride1)
        self._add_unit(
            self.planes,
            self.planes,
            3,
            deformable=deformable,
            stride=stride2,
            padding=self.dilation,
            dilation=self.dilation,
        )
        self._add_unit(self.planes, self.planes * self.expansion, 1)


class ResLayer(Sequential):
    """One stage: blocks in a row, the first of which may halve the resolution.

    Args:
        block: :class:`BasicBlock` or :class:`Bottleneck`.
        inplanes: channels of the input.
        planes: channels inside the blocks.
        num_blocks: at least one.
        stride: of the first block.
        dilation: of the blocks.
        avg_down: the shortcut of a block with stride averages, then convolves with stride 1 (ResNet-D).
        conv_cfg: config of the convolutions.
        norm_cfg: config of the normalisations.
        multi_grid: one dilation per block, in the place of ``dilation``.
        contract_dilation: the first block dilates by half of ``dilation``.
        plugins: see :class:`ResidualBlock`; one with ``blocks=(-2,)`` stands in those blocks alone, counted from the
            first (0, 1 ...) or from the last (-1, -2 ...).
        **kwargs: further options of the blocks.

    Raises:
        ConfigError: ``multi_grid`` is too short, or ``blocks`` names none.
    """

    def __init__(
        self,
        block: type[ResidualBlock],
        inplanes: int,
        planes: int,
        num_blocks: int,
        stride: int = 1,
        dilation: int = 1,
        avg_down: bool = False,
        conv_cfg: dict | None = None,
        norm_cfg: dict | None = None,
        multi_grid: Sequence[int] | None = None,
        contract_dilation: bool = False,
        plugins: Sequence[dict] | None = None,
        **kwargs: Any,
    ) -> None:
        norm_cfg = norm_cfg if norm_cfg is not None else dict(type="BN")
        if multi_grid is not None and len(multi_grid) < num_blocks:
            raise ConfigError(
                f"multi_grid: received {tuple(multi_grid)}, but the last stage has {num_blocks} blocks; "
                "give one dilation per block"
            )
        outplanes = planes * block.expansion
        dilations = list(multi_grid[:num_blocks]) if multi_grid is not None else [dilation] * num_blocks
        if multi_grid is None and contract_dilation and dilation > 1:
            dilations[0] = dilation // 2
        kwargs.update(planes=planes, conv_cfg=conv_cfg, norm_cfg=norm_cfg)
        shortcut = None
        if stride != 1 or inplanes != outplanes:
            shortcut = _projection(inplanes, outplanes, stride, avg_down, conv_cfg, norm_cfg)
        of_blocks = [
            dict(kwargs, dilation=d, plugins=_of_block(plugins, i, num_blocks)) for i, d in enumerate(dilations)
        ]
        blocks = [block(inplanes=inplanes, stride=stride, downsample=shortcut, **of_blocks[0])]
        blocks += [block(inplanes=outplanes, **options) for options in of_blocks[1:]]
        super().__init__(*blocks)


def _of_block(plugins: Sequence[dict] | None, index: int, num_blocks: int) -> list[dict]:
    """The plugins of one block of a stage, without the key ``blocks``."""
    chosen = []
    for plugin in plugins or ():
        blocks = plugin.get("blocks")
        named = isinstance(blocks, list | tuple) and blocks and all(i in range(-num_blocks, num_blocks) for i in blocks)
        if blocks is not None and not named:
            raise ConfigError(
                f"plugins: received blocks={blocks!r} for a stage of {num_blocks} blocks; allowed is a tuple of one or "
                f"more of {-num_blocks} to {num_blocks - 1}, such as blocks=(-1,)"
            )
        if blocks is None or index in {i % num_blocks for i in blocks}:
            chosen.append({key: value for key, value in plugin.items() if key != "blocks"})
    return chosen


def _projection(
    inplanes: int, outplanes: int, stride: int, avg_down: bool, conv_cfg: dict | None, norm_cfg: dict
) -> nn.Sequential:
    layers: list[nn.Module] = []
    if avg_down:
        layers.append(nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False))
    conv_stride = 1 if avg_down else stride
    layers.append(build_conv_layer(conv_cfg, inplanes, outplanes, 1, stride=conv_stride, bias=False))
    layers.append(build_norm_layer(norm_cfg, outplanes)[1])
    return nn.Sequential(*layers)
