"""mmsegmentation's older names for building models: one registry under five names, and a function for each.

New code says ``MODELS.register_module()`` and ``MODELS.build(cfg)``, see :mod:`gcseg.registry`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from gcseg.registry import MODELS
from gcseg.utils.errors import ConfigError

BACKBONES = NECKS = HEADS = LOSSES = SEGMENTORS = MODELS

__all__ = [
    "BACKBONES",
    "HEADS",
    "LOSSES",
    "NECKS",
    "SEGMENTORS",
    "build_backbone",
    "build_head",
    "build_loss",
    "build_neck",
    "build_segmentor",
]


def build(cfg: Mapping[str, Any]) -> nn.Module:
    """Build a part of a model from its config: ``type`` and the constructor's arguments."""
    return MODELS.build(cfg)


build_backbone = build_neck = build_head = build_loss = build


def build_segmentor(
    cfg: Mapping[str, Any], train_cfg: Mapping[str, Any] | None = None, test_cfg: Mapping[str, Any] | None = None
) -> nn.Module:
    """Build a segmentor from its config.

    Args:
        cfg: ``type`` and the constructor's arguments; not changed.
        train_cfg: the segmentor's ``train_cfg``, where ``cfg`` has none.
        test_cfg: the segmentor's ``test_cfg``, where ``cfg`` has none.

    Raises:
        ConfigError: ``train_cfg`` or ``test_cfg`` is given here and in ``cfg``.
    """
    given = {key: value for key, value in (("train_cfg", train_cfg), ("test_cfg", test_cfg)) if value is not None}
    for key in given:
        if cfg.get(key) is not None:
            raise ConfigError(f"build_segmentor: {key} is given in the model's config and beside it; leave one out")
    return MODELS.build({**cfg, **given})
