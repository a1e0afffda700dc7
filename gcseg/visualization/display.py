"""Is there a screen to open a window on?"""

from __future__ import annotations

import os
import sys

from gcseg.utils.errors import HardwareError

# Backends of matplotlib that write into memory or a notebook's page instead of opening a window.
_WITHOUT_WINDOW = {"agg", "cairo", "pdf", "pgf", "ps", "svg", "template"}
_NOTEBOOK = ("inline", "ipympl", "nbagg", "widget")


def require_display(remedy: str = "write files instead: out_file=..., or --show-dir DIR with tools/test.py") -> None:
    """Check that a picture can be shown, before a window system fails with a message of its own or a loop waits for
    ever.

    Args:
        remedy: the end of the error message.

    Raises:
        HardwareError: there is no display, or matplotlib was told to use a backend that opens no window.
    """
    chosen = os.environ.get("MPLBACKEND", "").lower()
    if "matplotlib.pyplot" in sys.modules:
        import matplotlib

        chosen = str(matplotlib.get_backend()).lower()
    if any(word in chosen for word in _NOTEBOOK):
        return
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise HardwareError(
            "show=True needs a screen, and this machine has none (neither DISPLAY nor WAYLAND_DISPLAY is set); "
            f"{remedy}"
        )
    if chosen in _WITHOUT_WINDOW:
        raise HardwareError(
            f"show=True needs a window, and matplotlib's backend is {chosen!r}, which opens none; {remedy}"
        )
