"""What a program calls: train, test, and predict on images. Names are loaded when asked for.

``train`` and ``test`` are the sub-modules; their functions are ``gcseg.apis.train.train`` and ``gcseg.apis.test.test``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "init_model": "gcseg.apis.inference",
    "inference_model": "gcseg.apis.inference",
    "show_result_pyplot": "gcseg.apis.inference",
    "SegInferencer": "gcseg.apis.inferencer",
    "MMSegInferencer": "gcseg.apis.inferencer",
    "run_demo": "gcseg.apis.demo",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
