"""Metrics. ``metrics`` holds the classes that configs name, ``scores`` the arithmetic without any framework."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "CityscapesMetric": "gcseg.evaluation.metrics",
    "IoUMetric": "gcseg.evaluation.metrics",
    "areas_from_confusion": "gcseg.evaluation.scores",
    "scores_from_areas": "gcseg.evaluation.scores",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
