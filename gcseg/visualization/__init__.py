"""Pictures of predictions. ``local_visualizer`` holds the class that configs name, the rest are plain functions."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "SegLocalVisualizer": "gcseg.visualization.local_visualizer",
    "generate_palette": "gcseg.visualization.paint",
    "label_regions": "gcseg.visualization.paint",
    "overlay": "gcseg.visualization.paint",
    "paint_panel": "gcseg.visualization.panel",
    "require_display": "gcseg.visualization.display",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
