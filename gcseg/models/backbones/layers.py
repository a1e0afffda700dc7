"""Translation of config dictionaries into the layers of residual blocks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from mmcv.cnn import build_conv_layer
from mmcv.cnn.bricks.plugin import infer_abbr
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gcseg.registry import MODELS
from gcseg.utils import ConfigError, unknown_name_message

POSITIONS = ("after_conv1", "after_conv2", "after_conv3", "after_add")
KNOWN_PLUGINS = ("ContextBlock", "GeneralContext", "NonLocal2d", "SE", "SimplifiedNonLocal")


def build_deformable_conv(dcn: dict[str, Any], *args: Any, **kwargs: Any) -> nn.Module:
    """Build the 3x3 convolution that a stage with ``dcn`` uses.

    Args:
        dcn: config such as ``dict(type='DCNv2', deform_groups=1)``.
        *args: as for ``torch.nn.Conv2d``.
        **kwargs: as for ``torch.nn.Conv2d``.

    Raises:
        ConfigError: the type is not a known convolution, or the installed mmcv carries no compiled operators.
    """
    with suppress(ImportError):
        import mmcv.ops  # noqa: F401  registers DCN and DCNv2
    layer_type = dcn.get("type")
    if isinstance(layer_type, str) and MODELS.get(layer_type) is None:
        raise ConfigError(
            f"dcn: the installed mmcv has no layer {layer_type!r}. Deformable convolutions are compiled operators, "
            "which mmcv-lite does not contain; install the full mmcv (or onedl-mmcv) built for this PyTorch, or remove "
            "dcn and stage_with_dcn from the backbone"
        )
    return build_conv_layer(dcn, *args, **kwargs)


def add_plugins(owner: nn.Module, plugins: Sequence[dict], in_channels: int) -> list[str]:
    """Build plugins and register them on a block under the names of the state dict.

    Args:
        owner: the block.
        plugins: configs such as ``dict(type='ContextBlock', ratio=1/16)``; ``postfix`` is appended to the name.
        in_channels: channels of the features that reach the plugins.

    Returns:
        The names, in the order in which the features pass through them.

    Raises:
        ConfigError: an unknown type, or two plugins of one name.
    """
    names = []
    for plugin in plugins:
        cfg = dict(plugin)
        postfix = cfg.pop("postfix", "")
        kind = cfg.pop("type", None)
        make = MODELS.get(kind) if isinstance(kind, str) else kind
        if make is None:
            raise ConfigError(unknown_name_message("plugin type", str(kind), KNOWN_PLUGINS))
        layer = make(in_channels=in_channels, **cfg)
        name = f"{infer_abbr(make)}{postfix}"
        if hasattr(owner, name):
            raise ConfigError(
                f"plugins: two plugins of one block are called {name!r}; tell them apart with "
                "cfg=dict(..., postfix='_1') and cfg=dict(..., postfix='_2')"
            )
        owner.add_module(name, layer)
        names.append(name)
    return names


def group_by_position(plugins: Sequence[dict] | None, allowed: Sequence[str], block: str) -> dict[str, list[dict]]:
    """Sort the plugins of a stage by where they stand in a block.

    Args:
        plugins: ``dict(cfg=..., position=...)`` each.
        allowed: the positions that the block has.
        block: its name, for the message.

    Returns:
        The ``cfg`` of the plugins for each allowed position, in the order given.

    Raises:
        ConfigError: a plugin without ``cfg``, or a position that the block does not have.
    """
    grouped: dict[str, list[dict]] = {position: [] for position in allowed}
    for plugin in plugins or ():
        if "cfg" not in plugin:
            raise ConfigError(f"plugins: {plugin!r} has no 'cfg'; write dict(cfg=dict(type=...), position=...)")
        position = plugin.get("position")
        if position not in grouped:
            raise ConfigError(
                f"plugins: received position {position!r}, allowed in a {block} are {', '.join(allowed)}"
                + (f" (its residual branch ends {allowed[-2]})" if position in POSITIONS else "")
            )
        grouped[position].append(plugin["cfg"])
    return grouped


class frozen_running_statistics:
    """Context in which the batch normalisations of a module leave their running statistics alone.

    Activation checkpointing runs the forward pass twice; without this the statistics would take the batch in twice.
    """

    def __init__(self, module: nn.Module) -> None:
        self._norms = [
            m for m in module.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats
        ]
        self._before: list[tuple[float | None, Tensor]] = []

    def __enter__(self) -> None:
        # The layers must save the same tensors as in the first pass, so that the statistics cannot be taken away.
        self._before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in self._norms]
        for norm in self._norms:
            norm.momentum = 0.0

    def __exit__(self, *exc: object) -> None:
        for norm, (momentum, num_batches) in zip(self._norms, self._before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(num_batches)
