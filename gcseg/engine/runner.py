"""The runner of training and testing."""

from __future__ import annotations

import logging
from typing import Any

from mmengine.logging import MessageHub, MMLogger
from mmengine.runner import Runner

# How the messages begin that fill screens and say nothing of how the run goes.
_LONG = ("System environment:", "Config:", "Hooks will be executed in the following order:")


class SegRunner(Runner):
    """mmengine's runner with a screen for what happens.

    The log file begins with the environment, the whole config and the order of the hooks, more than 400 lines. On the
    screen one line says where it is; with ``log_level='DEBUG'`` the screen has them as well.

    A run is named by the second in which it begins; one that begins in the same second, in the same process, has
    another name. Otherwise mmengine would hand it the logger and the records of the first.
    """

    @property
    def _experiment_name(self) -> str:
        return self._name_of_its_own

    @_experiment_name.setter
    def _experiment_name(self, name: str) -> None:
        self._name_of_its_own, count = name, 1
        while any(kind.check_instance_created(self._name_of_its_own) for kind in (MMLogger, MessageHub)):
            count += 1
            self._name_of_its_own = f"{name}_{count}"

    def build_logger(self, log_level: int | str = "INFO", log_file: str | None = None, **kwargs: Any) -> MMLogger:
        """The logger of the run; arguments as mmengine's."""
        logger: MMLogger = super().build_logger(log_level, log_file, **kwargs)
        files = [h.baseFilename for h in logger.handlers if isinstance(h, logging.FileHandler)]
        screens = [h for h in logger.handlers if not isinstance(h, logging.FileHandler) and h.level > logging.DEBUG]
        if files and screens:
            logger.info(f"environment, config and hooks are in {files[0]}")
            for screen in screens:
                screen.addFilter(_is_short)
        return logger


def _is_short(record: logging.LogRecord) -> bool:
    return not record.getMessage().lstrip("\n-").startswith(_LONG)
