"""Data sets and their transforms, under mmsegmentation's names; each is imported when somebody asks for it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_NAMES: dict[str, tuple[str, ...]] = {
    "basesegdataset": ("BaseSegDataset",),
    "cityscapes": ("CityscapesDataset",),
    "ade": ("ADE20KDataset",),
    "voc": ("PascalVOCDataset",),
    "camvid": ("CamVidDataset",),
    "folder": ("FolderDataset",),
    "demo": ("DemoDataset",),
    "dataset_wrappers": ("ConcatDataset", "RepeatDataset", "ClassBalancedDataset", "MultiImageMixDataset"),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    if not name.startswith("_"):
        transforms = import_module(f"{__name__}.transforms")
        if name in transforms.__all__:
            return getattr(transforms, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
