"""Paint what the pipeline of a config yields, with its labels: into a folder, or in windows.

The work is done by `gcseg.analysis.browse_dataset`. Unlike mmsegmentation's tool this one writes files without a
display and under names that do not collide, shows the pipelines of validation and test as well, takes the order of the
colours from the config, and paints the same augmentations for the same seed.
"""

import argparse
import sys
from pathlib import Path

try:
    import gcseg  # noqa: F401
except ModuleNotFoundError:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gcseg.cli import Parser, parse_cfg_options, run_guarded
from gcseg.cli.options import add_cfg_options, add_config


def run(args):
    from gcseg.analysis import browse_dataset

    files = browse_dataset(
        args.config,
        args.out,
        split=args.split,
        count=None if args.count == 0 else args.count,
        repeats=args.repeats,
        seed=args.seed,
        opacity=args.opacity,
        show=args.show,
        wait_time=args.wait_time,
        cfg_options=parse_cfg_options(args.cfg_options),
    )
    print(f"{len(files)} pictures are in {args.out}" if files else "shown")


def main(argv=None):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_config(parser)
    parser.add_argument("--out", "--output-dir", metavar="FOLDER", help="write pictures here")
    parser.add_argument("--show", action="store_true", help="open a window for each")
    parser.add_argument("--wait-time", type=float, default=2, help="seconds each window stays (default 2)")
    parser.add_argument("--split", default="train", help="train (default), val or test")
    parser.add_argument("--count", type=int, default=20, help="the first so many items (default 20); 0: all")
    parser.add_argument("--repeats", type=int, default=1, help="each so many times, with other augmentations")
    parser.add_argument("--seed", type=int, default=0, help="of the augmentations (default 0)")
    parser.add_argument("--opacity", type=float, default=0.5, help="share of the colour (default 0.5)")
    add_cfg_options(parser)
    return run_guarded(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
