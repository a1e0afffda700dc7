"""Context blocks under the names and with the options that config files use for them."""

from __future__ import annotations

from functools import partial
from typing import Any

from mmcv.cnn import build_conv_layer, build_norm_layer

from gcseg.models.context import SE, GlobalContext, NonLocal, SimplifiedNonLocal, context_block
from gcseg.registry import MODELS


def layer_makers(conv_cfg: dict | None, norm_cfg: dict | None) -> dict[str, Any]:
    """Translate config dictionaries into the arguments ``conv_layer``, ``norm_layer`` and ``norm_name`` of a block.

    Args:
        conv_cfg: config of a convolution, ``None`` for ``Conv2d``.
        norm_cfg: config of a normalisation, ``None`` for none.
    """
    makers: dict[str, Any] = dict(conv_layer=partial(build_conv_layer, conv_cfg))
    if norm_cfg is not None:
        makers["norm_name"] = build_norm_layer(norm_cfg, _channels_any_norm_accepts(norm_cfg))[0]
        makers["norm_layer"] = lambda channels: build_norm_layer(norm_cfg, channels)[1]
    return makers


def _channels_any_norm_accepts(norm_cfg: dict) -> int:
    return norm_cfg.get("num_groups", 1)


MODELS.register_module(module=SimplifiedNonLocal)
MODELS.register_module(module=SE)


@MODELS.register_module()
class GeneralContext:
    """:func:`~gcseg.models.context.context_block` as a class, which mmcv and mmsegmentation ask of a plugin."""

    _abbr_ = "context_block"
    __init__ = context_block  # type: ignore[assignment]  # says the options; never called, __new__ makes another class

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Make a block, of the class that the options ask for."""
        return context_block(*args, **kwargs)


@MODELS.register_module()
class ContextBlock(GlobalContext):
    """:class:`~gcseg.models.context.GlobalContext` under mmcv's name, ``dict(type='ContextBlock', ratio=1/16)``."""

    _abbr_ = "context_block"

    spatial_pool = GlobalContext.context


@MODELS.register_module()
class NonLocal2d(NonLocal):
    """:class:`~gcseg.models.context.NonLocal` under mmcv's name, ``dict(type='NonLocal2d')``.

    Args:
        in_channels: channels of the features.
        sub_sample: halve the height and the width of keys and values.
        conv_cfg: config of the convolutions, ``None`` for ``Conv2d``.
        norm_cfg: config of the normalisation after the last convolution, ``None`` for none.
        **kwargs: ``reduction``, ``use_scale``, ``mode``, ``zeros_init`` of the block.
    """

    _abbr_ = "nonlocal_block"

    def __init__(
        self,
        in_channels: int,
        sub_sample: bool = False,
        conv_cfg: dict | None = None,
        norm_cfg: dict | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(in_channels, sub_sample=sub_sample, **layer_makers(conv_cfg, norm_cfg), **kwargs)
