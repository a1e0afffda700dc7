"""What a model costs and what a config says; each name is loaded when asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "Complexity": "gcseg.analysis.flops",
    "config_text": "gcseg.analysis.whole_config",
    "count_complexity": "gcseg.analysis.flops",
    "measure_complexity": "gcseg.analysis.flops",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
