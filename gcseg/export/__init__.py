"""Models for use elsewhere; each name is loaded when asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {"publish_checkpoint": "gcseg.export.publish"}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
