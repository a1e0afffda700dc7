"""mmengine's log without what tells its reader nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_lines(text: str) -> Iterator[None]:
    """Leave out the lines of the current log that contain a text, for the time of the block."""
    from mmengine.logging import MMLogger

    def is_news(record: logging.LogRecord) -> bool:
        return text not in record.getMessage()

    logger = MMLogger.get_current_instance()
    logger.addFilter(is_news)
    try:
        yield
    finally:
        logger.removeFilter(is_news)
