"""Print the operations and parameters of a config's model. The work is done by `gcseg.analysis.count_complexity`."""

import argparse
import sys
from pathlib import Path

try:
    import gcseg  # noqa: F401
except ModuleNotFoundError:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gcseg.cli import parse_cfg_options, run_guarded


def run(args):
    from gcseg.analysis import count_complexity

    print(count_complexity(args.config, args.shape, parse_cfg_options(args.cfg_options)))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file, or the name of a packaged recipe")
    parser.add_argument(
        "--shape", type=int, nargs="+", metavar="N", help="height width, or one; the crop size by default"
    )
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="override values of the config")
    return run_guarded(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
