"""Print the operations and parameters of a config's model. The work is done by `gcseg.analysis.count_complexity`."""

import sys
from pathlib import Path

try:
    import gcseg  # noqa: F401
except ModuleNotFoundError:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gcseg.cli import Parser, parse_cfg_options, run_guarded
from gcseg.cli.command import show
from gcseg.cli.options import add_cfg_options, add_config, add_json


def run(args):
    from gcseg.analysis import count_complexity

    found = count_complexity(args.config, args.shape, parse_cfg_options(args.cfg_options))
    show(found.as_dict(), str(found), args)


def main(argv=None):
    parser = Parser(description=__doc__)
    add_config(parser)
    parser.add_argument(
        "--shape", type=int, nargs="+", metavar="N", help="height width, or one; the crop size by default"
    )
    add_json(parser)
    add_cfg_options(parser)
    return run_guarded(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
