"""``gcseg report``."""

from __future__ import annotations

import argparse

from gcseg.cli.command import Command, show
from gcseg.cli.options import add_json


def _report_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("work_dir", help="folder of a training or a test")
    parser.add_argument("--against", metavar="WORK_DIR", help="a run to compare with")
    parser.add_argument("--out", metavar="FILE", help="the page; report.html in the folder by default")
    add_json(parser)


def _report(args: argparse.Namespace) -> None:
    from gcseg.analysis.report import write_report

    file = write_report(args.work_dir, args.against, args.out)
    found = {"file": file, "bytes": file.stat().st_size, "work_dir": args.work_dir, "against": args.against}
    show(found, str(file), args)


REPORT = Command(
    "report",
    "write one HTML page about what a run left",
    """gcseg report work_dirs/mine
    gcseg report work_dirs/mine --against work_dirs/before --out mine.html""",
    _report_parser,
    _report,
)
