"""ResNet backbones for dense prediction."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, ClassVar

from mmcv.cnn import build_conv_layer, build_norm_layer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gcseg.models.backbones.residual import BasicBlock, Bottleneck, ResidualBlock, ResLayer
from gcseg.models.quiet_init import QuietInit
from gcseg.registry import MODELS
from gcseg.utils import ConfigError

STEM_STRIDE = 4


@MODELS.register_module()
class ResNet(QuietInit):
    """ResNet (He et al. 2016, arXiv 1512.03385), with dilation for finer feature maps.

    ``out_channels`` and ``out_strides`` say what :meth:`forward` returns: one entry per index in ``out_indices``, in
    ascending order.

    Args:
        depth: 18, 34, 50, 101 or 152.
        in_channels: channels of the image.
        stem_channels: channels after the stem.
        base_channels: channels inside the blocks of the first stage; each further stage has twice as many.
        num_stages: 1 to 4.
        strides: stride of the first block of each stage.
        dilations: dilation of each stage.
        out_indices: stages whose features are returned, counted from zero.
        style: ``"pytorch"`` or ``"caffe"``, see :class:`~gcseg.models.backbones.residual.ResidualBlock`.
        deep_stem: three 3x3 convolutions in the place of one 7x7.
        avg_down: shortcuts with stride average before they convolve.
        frozen_stages: stages that are not trained: -1 none, 0 the stem, k the stem and the first k stages. Their
            normalisation uses its running statistics.
        conv_cfg: config of the convolutions, ``None`` for ``Conv2d``.
        norm_cfg: config of the normalisations, ``None`` for ``dict(type='BN', requires_grad=True)``.
        norm_eval: batch normalisation uses its running statistics in training too.
        dcn: config of deformable convolutions (needs an mmcv with compiled operators).
        stage_with_dcn: the stages that use them.
        plugins: blocks to insert into the residual blocks: ``dict(cfg=dict(type='ContextBlock', ratio=1/16),
            stages=(False, True, True, True), position='after_conv3')`` each; without ``stages`` all have it, with
            ``blocks=(-1,)`` the last block of each stage alone. Several at one position follow each other. A
            BasicBlock has no ``after_conv3``; ``after_add`` is between the addition and the last ReLU.
        multi_grid: dilation of each block of the last stage.
        contract_dilation: the first block of a dilated stage dilates by half.
        with_cp: compute activations again in the backward pass instead of keeping them.
        zero_init_residual: the last normalisation of each block starts at zero, the block as its shortcut.
        pretrained: weights to start from; the older spelling of ``init_cfg=dict(type='Pretrained', checkpoint=...)``.
        init_cfg: mmengine initialisation config; Kaiming by default.

    Raises:
        ConfigError: options that do not fit each other.
    """

    arch_settings: ClassVar[dict[int, tuple[type[ResidualBlock], tuple[int, ...]]]] = {
        18: (BasicBlock, (2, 2, 2, 2)),
        34: (BasicBlock, (3, 4, 6, 3)),
        50: (Bottleneck, (3, 4, 6, 3)),
        101: (Bottleneck, (3, 4, 23, 3)),
        152: (Bottleneck, (3, 8, 36, 3)),
    }

    def __init__(
        self,
        depth: int,
        in_channels: int = 3,
        stem_channels: int = 64,
        base_channels: int = 64,
        num_stages: int = 4,
        strides: Sequence[int] = (1, 2, 2, 2),
        dilations: Sequence[int] = (1, 1, 1, 1),
        out_indices: Sequence[int] = (0, 1, 2, 3),
        style: str = "pytorch",
        deep_stem: bool = False,
        avg_down: bool = False,
        frozen_stages: int = -1,
        conv_cfg: dict | None = None,
        norm_cfg: dict | None = None,
        norm_eval: bool = False,
        dcn: dict | None = None,
        stage_with_dcn: Sequence[bool] = (False, False, False, False),
        plugins: Sequence[dict] | None = None,
        multi_grid: Sequence[int] | None = None,
        contract_dilation: bool = False,
        with_cp: bool = False,
        zero_init_residual: bool = True,
        pretrained: str | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(_initialisation(pretrained, init_cfg))
        if depth not in self.arch_settings:
            raise ConfigError(f"depth: received {depth!r}, allowed are {', '.join(map(str, self.arch_settings))}")
        _check_stages(num_stages, strides, dilations, out_indices, frozen_stages)
        if dcn is not None and len(stage_with_dcn) != num_stages:
            raise ConfigError(f"stage_with_dcn: received {len(stage_with_dcn)} entries for num_stages={num_stages}")
        if min(stem_channels, base_channels) < 1:
            raise ConfigError(f"{stem_channels=}, {base_channels=}: allowed are numbers from 1")
        norm_cfg = norm_cfg if norm_cfg is not None else dict(type="BN", requires_grad=True)
        self.depth = depth
        self.in_channels = in_channels
        self.stem_channels = stem_channels
        self.base_channels = base_channels
        self.num_stages = num_stages
        self.strides = tuple(strides)
        self.dilations = tuple(dilations)
        self.out_indices = tuple(out_indices)
        self.style = style
        self.deep_stem = deep_stem
        self.avg_down = avg_down
        self.frozen_stages = frozen_stages
        self.conv_cfg = conv_cfg
        self.norm_cfg = norm_cfg
        self.norm_eval = norm_eval
        self.dcn = dcn
        self.stage_with_dcn = tuple(stage_with_dcn)
        self.plugins = plugins
        self.multi_grid = multi_grid
        self.contract_dilation = contract_dilation
        self.with_cp = with_cp
        self.zero_init_residual = zero_init_residual
        self.pretrained = pretrained
        self.block, stage_blocks = self.arch_settings[depth]
        self.stage_blocks = stage_blocks[:num_stages]
        # The last normalisation starts at zero, unless the initialisation was given by the caller.
        block_init = None
        if pretrained is None and init_cfg is None and zero_init_residual:
            block_init = dict(type="Constant", val=0, override=dict(name=f"norm{self.block.num_units}"))

        self._make_stem(in_channels, stem_channels)
        self.res_layers: list[str] = []
        stage_channels, stage_strides = [], []
        inplanes, total_stride = stem_channels, STEM_STRIDE
        for i, num_blocks in enumerate(self.stage_blocks):
            planes = base_channels * 2**i
            stage = ResLayer(
                self.block,
                inplanes,
                planes,
                num_blocks,
                stride=strides[i],
                dilation=dilations[i],
                avg_down=avg_down,
                conv_cfg=conv_cfg,
                norm_cfg=norm_cfg,
                multi_grid=multi_grid if i == num_stages - 1 else None,
                contract_dilation=contract_dilation,
                style=style,
                with_cp=with_cp,
                dcn=dcn if dcn is not None and stage_with_dcn[i] else None,
                plugins=self.make_stage_plugins(plugins, i),
                init_cfg=block_init,
            )
            inplanes = planes * self.block.expansion
            total_stride *= strides[i]
            stage_channels.append(inplanes)
            stage_strides.append(total_stride)
            self.add_module(f"layer{i + 1}", stage)
            self.res_layers.append(f"layer{i + 1}")
        returned = sorted(set(out_indices))
        self.out_channels = tuple(stage_channels[i] for i in returned)
        self.out_strides = tuple(stage_strides[i] for i in returned)
        self.feat_dim = inplanes
        self._freeze_stages()

    def make_stage_plugins(self, plugins: Sequence[dict] | None, stage_idx: int) -> list[dict]:
        """Plugins of one stage: those whose ``stages`` select it, without that key.

        Raises:
            ConfigError: ``stages`` has another length than ``num_stages``.
        """
        selected = []
        for plugin in plugins or ():
            stages = plugin.get("stages")
            if stages is not None and len(stages) != self.num_stages:
                raise ConfigError(
                    f"plugins: stages={tuple(stages)} has {len(stages)} entries, num_stages is {self.num_stages}; "
                    "give one truth value per stage"
                )
            if stages is None or stages[stage_idx]:
                selected.append({key: value for key, value in plugin.items() if key != "stages"})
        return selected

    @property
    def norm1(self) -> nn.Module:
        """Normalisation of the 7x7 stem."""
        return getattr(self, self.norm1_name)

    def _make_stem(self, in_channels: int, stem_channels: int) -> None:
        if self.deep_stem:
            half = stem_channels // 2
            layers: list[nn.Module] = []
            for source, target, stride in ((in_channels, half, 2), (half, half, 1), (half, stem_channels, 1)):
                layers.append(build_conv_layer(self.conv_cfg, source, target, 3, stride=stride, padding=1, bias=False))
                layers.append(build_norm_layer(self.norm_cfg, target)[1])
                layers.append(nn.ReLU(inplace=True))
            self.stem = nn.Sequential(*layers)
        else:
            self.conv1 = build_conv_layer(self.conv_cfg, in_channels, stem_channels, 7, stride=2, padding=3, bias=False)
            self.norm1_name, norm1 = build_norm_layer(self.norm_cfg, stem_channels, postfix=1)
            self.add_module(self.norm1_name, norm1)
            self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)

    def _freeze_stages(self) -> None:
        frozen: list[nn.Module] = []
        if self.frozen_stages >= 0:
            frozen += [self.stem] if self.deep_stem else [self.conv1, self.norm1]
        frozen += [getattr(self, name) for name in self.res_layers[: max(self.frozen_stages, 0)]]
        for module in frozen:
            module.eval()
            module.requires_grad_(False)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the feature maps.

        Args:
            x: normalised images, (N, in_channels, H, W), floating; any H and W from 1 on (batch normalisation in
                training mode needs more than one position in all).

        Returns:
            One (N, C, ceil(H / stride), ceil(W / stride)) per entry of ``out_channels`` and ``out_strides``.

        Raises:
            ValueError: another shape, or whole numbers.
        """
        if x.dim() != 4 or x.shape[1] != self.in_channels or not x.is_floating_point():
            raise ValueError(
                f"{type(self).__name__}: received {x.dtype} images of shape {tuple(x.shape)}, expected "
                f"(N, {self.in_channels}, H, W), normalised and floating; in_channels={self.in_channels}"
            )
        x = self.stem(x) if self.deep_stem else self.relu(self.norm1(self.conv1(x)))
        x = self.maxpool(x)
        outs = []
        for i, name in enumerate(self.res_layers):
            x = getattr(self, name)(x)
            if i in self.out_indices:
                outs.append(x)
        return tuple(outs)

    def train(self, mode: bool = True) -> ResNet:
        """Switch between training and inference; frozen stages, and with ``norm_eval`` all batch norms, stay put."""
        super().train(mode)
        self._freeze_stages()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


@MODELS.register_module()
class ResNetV1c(ResNet):
    """:class:`ResNet` whose stem has three 3x3 convolutions (He et al. 2019, arXiv 1812.01187, ResNet-C)."""

    def __init__(self, depth: int, **kwargs: Any) -> None:
        super().__init__(depth, deep_stem=True, avg_down=False, **kwargs)


@MODELS.register_module()
class ResNetV1d(ResNet):
    """:class:`ResNetV1c` whose shortcuts average before they convolve (He et al. 2019, arXiv 1812.01187, ResNet-D)."""

    def __init__(self, depth: int, **kwargs: Any) -> None:
        super().__init__(depth, deep_stem=True, avg_down=True, **kwargs)


def _initialisation(pretrained: str | None, init_cfg: dict | list[dict] | None) -> dict | list[dict]:
    if pretrained is not None:
        if init_cfg:
            raise ConfigError("pretrained and init_cfg exclude each other; keep init_cfg=dict(type='Pretrained', ...)")
        if not isinstance(pretrained, str):
            raise TypeError(f"pretrained: expected a file, a URL or None, got {type(pretrained).__name__}")
        warnings.warn(
            "pretrained is the older spelling of init_cfg=dict(type='Pretrained', checkpoint=...)",
            DeprecationWarning,
            stacklevel=3,
        )
        return dict(type="Pretrained", checkpoint=pretrained)
    if init_cfg is not None:
        return init_cfg
    return [dict(type="Kaiming", layer="Conv2d"), dict(type="Constant", val=1, layer=["_BatchNorm", "GroupNorm"])]


def _check_stages(
    num_stages: int, strides: Sequence[int], dilations: Sequence[int], out_indices: Sequence[int], frozen_stages: int
) -> None:
    if not 1 <= num_stages <= 4:
        raise ConfigError(f"num_stages: received {num_stages}, allowed are 1 to 4")
    for name, values in (("strides", strides), ("dilations", dilations)):
        if len(values) != num_stages:
            raise ConfigError(f"{name}: received {tuple(values)}, but num_stages={num_stages}; give one per stage")
        if min(values) < 1:
            raise ConfigError(f"{name}: received {tuple(values)}, allowed are numbers from 1")
    if not out_indices or not all(0 <= i < num_stages for i in out_indices):
        raise ConfigError(f"out_indices: received {tuple(out_indices)}, allowed are 0 to {num_stages - 1}")
    if not -1 <= frozen_stages <= num_stages:
        raise ConfigError(f"frozen_stages: received {frozen_stages}, allowed are -1 to {num_stages}")
