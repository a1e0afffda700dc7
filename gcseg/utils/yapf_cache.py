"""Starting several processes on a machine that has not run mmengine before."""

from __future__ import annotations

import pickle
import time
from importlib import import_module

_PAUSE = 0.1


def import_yapf(patience: float = 10.0) -> None:
    """Import yapf before mmengine does.

    yapf writes its grammar into the user's cache, not at once, whenever it is newly installed. Of the processes that
    torchrun starts together one may then read half of it, and could not even import mmengine.

    Args:
        patience: seconds to wait for whoever is writing.

    Raises:
        EOFError, pickle.UnpicklingError: the file stays as it is: whoever wrote it was killed. Delete ~/.cache/YAPF.
    """
    end = time.monotonic() + patience
    while True:
        try:
            import_module("yapf")
            return
        except ImportError:  # a mmengine that does without
            return
        except (EOFError, pickle.UnpicklingError):
            if time.monotonic() > end:
                raise
            time.sleep(_PAUSE)
