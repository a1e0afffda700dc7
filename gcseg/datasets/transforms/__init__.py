"""Transforms under mmsegmentation's names; each is imported when somebody asks for it.

Transforms that are not listed here (``CenterCrop``, ``RandomApply`` and others) are mmcv's own
and are found through the registry.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_NAMES: dict[str, tuple[str, ...]] = {
    "loading": ("LoadAnnotations", "LoadImageFromFile", "LoadImageFromNDArray"),
    "geometric": ("Pad", "RandomCrop", "RandomFlip", "RandomResize", "Resize"),
    "photometric": ("PhotoMetricDistortion",),
    "formatting": ("PackSegInputs",),
    "test_time": ("TestTimeAug",),
    "geometric_extra": ("RandomChoiceResize", "RandomRotate", "ResizeShortestEdge", "ResizeToMultiple", "SegRescale"),
    "color_extra": ("AdjustGamma", "CLAHE", "RGB2Gray", "Rerange"),
    "mix_extra": ("GenerateEdge", "RandomCutOut", "RandomMosaic"),
    "albu_extra": ("Albu",),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
