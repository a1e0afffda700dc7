"""Try learning rates from low to high in a short training, and suggest one.

The work is done by `gcseg.analysis.find_lr`, on a copy: the config, its work_dir and its checkpoints stay as they are.
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
    from gcseg.analysis import find_lr

    found = find_lr(
        args.config,
        args.start,
        args.end,
        args.iterations,
        smooth=args.smooth,
        amp=args.amp,
        cfg_options=parse_cfg_options(args.cfg_options),
    )
    if args.plot:
        found.plot(args.plot)
    show(found.as_dict(), str(found), args)
    return 1 if found.suggestion is None else 0


def main(argv=None):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_config(parser)
    parser.add_argument("--start", type=float, default=1e-5, help="first rate (default 1e-5)")
    parser.add_argument("--end", type=float, default=1.0, help="last rate (default 1)")
    parser.add_argument("--iterations", type=int, default=100, help="how many (default 100)")
    parser.add_argument(
        "--smooth",
        type=float,
        default=0.9,
        help="weight of a loss's neighbours in its mean, 0 to below 1 (default 0.9)",
    )
    parser.add_argument("--amp", action="store_true", help="mixed precision")
    parser.add_argument("--plot", metavar="PICTURE", help="draw the losses")
    add_json(parser)
    add_cfg_options(parser)
    return run_guarded(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
