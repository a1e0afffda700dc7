"""Figures without a display: matplotlib, where it is installed, draws into files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from gcseg.utils.errors import ConfigError


def new_figure(width: float, height: float) -> Any:
    """An empty ``matplotlib.figure.Figure`` that belongs to no window system.

    Args:
        width: in inches.
        height: in inches.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as e:
        raise ConfigError("a plot needs the package matplotlib: pip install matplotlib") from e
    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Any, path: str | os.PathLike) -> Path:
    """Write a figure; the suffix says how (.png, .svg, .pdf). Folders above it are made.

    Raises:
        ConfigError: no format of that name.
    """
    path = Path(path).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        figure.savefig(path, dpi=150)
    except ValueError as e:
        raise ConfigError(f"{path}: {e}") from e
    return path
