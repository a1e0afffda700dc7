"""Modules whose initialisation is listed in the log of a run, and not on the terminal of who initialises them alone."""

from __future__ import annotations

from logging import FileHandler

from mmengine.logging import MMLogger
from mmengine.model import BaseModule


class QuietInit(BaseModule):
    """A ``BaseModule`` whose ``init_weights`` prints nothing; mmengine's prints two lines for every tensor."""

    def _dump_init_info(self) -> None:
        if any(isinstance(handler, FileHandler) for handler in MMLogger.get_current_instance().handlers):
            super()._dump_init_info()
