"""Models: context blocks, backbones, decode heads, losses, segmentors and the data preprocessor.

Names are imported when they are first used (PEP 562): ``from gcseg.models import GCHead`` loads the heads and what they
need, and ``gcseg.models.context`` loads torch alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_NAMES = {
    "context": ("DisentangledNonLocal2d", "GlobalContext", "attention_pool"),
    "plugins": ("ContextBlock", "NonLocal2d"),
    "backbones": ("BasicBlock", "Bottleneck", "ResNet", "ResNetV1c", "ResNetV1d"),
    "decode_heads": ("BaseDecodeHead", "ContextHead", "DNLHead", "FCNHead", "GCHead", "NLHead"),
    "losses": (
        "CrossEntropyLoss",
        "DiceLoss",
        "FocalLoss",
        "LovaszLoss",
        "OHEMPixelSampler",
        "TverskyLoss",
        "accuracy",
    ),
    "segmentors": ("BaseSegmentor", "EncoderDecoder", "SegTTAModel"),
    "data_preprocessor": ("SegDataPreProcessor",),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted([*_HOME, *_NAMES])


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return import_module(f"{__name__}.{name}")
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
