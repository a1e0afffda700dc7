"""Small helpers that know nothing of the layers above.

``register_all_modules``, ``get_classes`` and ``get_palette`` stand here because mmsegmentation keeps them in its
``utils``; they are handed on from where they live when somebody asks for them.
"""

from __future__ import annotations

from typing import Any

from gcseg.utils.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    GcsegError,
    HardwareError,
    WeightsNotFoundError,
)
from gcseg.utils.names import nearest, unknown_name_message
from gcseg.utils.progress import progress

_FORWARDED = {
    "get_classes": "gcseg.metainfo",
    "get_palette": "gcseg.metainfo",
    "register_all_modules": "gcseg.config",
}

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "GcsegError",
    "HardwareError",
    "WeightsNotFoundError",
    "get_classes",
    "get_palette",
    "nearest",
    "progress",
    "register_all_modules",
    "unknown_name_message",
]


def __getattr__(name: str) -> Any:
    if name in _FORWARDED:
        from importlib import import_module

        return getattr(import_module(_FORWARDED[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
