"""What training and testing do for ``--report``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmengine.runner import Runner


def prepare_report(runner: Runner, report: bool | str | os.PathLike, **about: Any) -> Callable[[], None]:
    """Let a runner collect what a report of its test or its validations needs; nothing is done if none is wanted.

    Args:
        runner: before it runs.
        report: the file to write, or True for ``report.html`` in the work dir; False for none.
        **about: what to note of the run, such as ``checkpoint``.

    Returns:
        What writes the page, to be called after the run by every process.

    Raises:
        ConfigError: nothing can be written there, or the name does not end in .html.
    """
    if not report:
        return lambda: None
    from mmengine.dist import is_main_process

    from gcseg.analysis.report import page_file
    from gcseg.engine.hooks import ReportHook
    from gcseg.utils.writable import check_writable

    file = Path(runner.work_dir) / "report.html" if report is True else Path(report).expanduser()
    if is_main_process():
        check_writable(file, f"report {file}")
        page_file(file)
    runner.register_hook(ReportHook(about))

    def write_page() -> None:
        if is_main_process():
            from gcseg.analysis.report import write_report

            runner.logger.info(f"report written to {write_report(runner.work_dir, out=file)}")

    return write_page
