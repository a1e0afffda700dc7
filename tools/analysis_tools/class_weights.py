"""Count the classes in the labels of a config, and print weights for the cross-entropy.

The work is done by `gcseg.analysis.class_weights`; its last line goes into `loss_decode=dict(...)` of the heads.
"""

import argparse
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
    from gcseg.analysis import class_weights

    found = class_weights(
        args.config,
        args.method,
        beta=args.beta,
        normalise=not args.raw,
        maximum=args.max,
        split=args.split,
        cfg_options=parse_cfg_options(args.cfg_options),
    )
    show(found.as_dict(), str(found), args)


def main(argv=None):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_config(parser)
    parser.add_argument("--method", default="median", help="median (default), inverse or effective")
    parser.add_argument("--beta", type=float, help="of effective; (N - 1) / N by default, with N labelled pixels")
    parser.add_argument("--max", type=float, metavar="W", help="no weight above this one")
    parser.add_argument("--raw", action="store_true", help="do not scale to a mean of one over the pixels")
    parser.add_argument("--split", default="train", help="train (default), val or test")
    add_json(parser)
    add_cfg_options(parser)
    return run_guarded(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
