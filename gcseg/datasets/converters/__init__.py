"""Functions behind ``tools/dataset_converters``: published archives to the folders that the data sets read."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_MODULE_OF = {"convert_cityscapes": "cityscapes", "convert_voc_aug": "voc_aug"}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
