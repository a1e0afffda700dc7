"""Print and draw the curves of training logs; runs side by side, and resumed runs as one.

RUN is a work_dir, or a scalars.json. The work is done by `gcseg.analysis.read_log` and `plot_logs`. Unlike
mmsegmentation's tool this one needs neither seaborn nor a display, joins the logs of a run that was resumed (and leaves
out what was logged by weights that are gone), reads a log whose last line breaks off, and shows a key that is not there
as an error with those that are.
"""

import argparse
import sys
from pathlib import Path

try:
    import gcseg  # noqa: F401
except ModuleNotFoundError:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gcseg.cli import Parser, run_guarded
from gcseg.cli.command import show
from gcseg.cli.options import add_json
from gcseg.utils.errors import ConfigError


def run(args):
    from gcseg.analysis import format_summary, plot_logs, read_log

    names = args.legend or [None] * len(args.runs)
    if len(names) != len(args.runs):
        raise ConfigError(f"--legend has {len(names)} names for {len(args.runs)} runs")
    logs = [read_log(path, name) for path, name in zip(args.runs, names, strict=True)]
    if args.out:
        plot_logs(logs, args.keys or ["loss"], args.out, args.smooth, args.title)
    show([{"name": log.name, "curves": log.curves} for log in logs], format_summary(logs, args.keys), args)


def main(argv=None):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="work_dir, or file of mmengine's JSON log")
    parser.add_argument("--keys", nargs="+", metavar="KEY", help="such as loss mIoU lr; for the table all by default")
    parser.add_argument("--out", metavar="PICTURE", help="draw the keys (loss by default) into this file")
    parser.add_argument("--smooth", type=float, default=0.0, help="weight of the past, 0 (default) to below 1")
    parser.add_argument("--legend", nargs="+", metavar="NAME", help="names of the runs")
    parser.add_argument("--title", help="above the picture")
    add_json(parser)
    return run_guarded(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
