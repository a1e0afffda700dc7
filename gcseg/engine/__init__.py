"""Training and testing machinery around mmengine's runner.

What a config can name is registered by :mod:`gcseg.engine.registered`; the names below are loaded when asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "install_safe_loader": "gcseg.engine.checkpoint",
    "load_checkpoint_file": "gcseg.engine.checkpoint",
    "load_into_model": "gcseg.engine.state_dict",
    "LoadReport": "gcseg.engine.state_dict",
    "adapt_config_for_hardware": "gcseg.engine.hardware",
    "hide_broken_torchvision": "gcseg.engine.hardware",
    "fix_seed": "gcseg.engine.randomness",
    "init_distributed": "gcseg.engine.launch",
    "prepare_resume": "gcseg.engine.resume",
    "verify_checkpoint": "gcseg.engine.resume",
    "AmpOptimWrapper": "gcseg.engine.optim_wrapper",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
