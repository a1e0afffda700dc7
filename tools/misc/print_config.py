"""Print a config after inheritance and overrides. The work is done by `gcseg.analysis.config_text`."""

import sys
from pathlib import Path

try:
    import gcseg  # noqa: F401
except ModuleNotFoundError:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gcseg.cli import Parser, parse_cfg_options, run_guarded
from gcseg.cli.options import add_cfg_options, add_config


def run(args):
    from gcseg.analysis import config_text

    print(config_text(args.config, parse_cfg_options(args.cfg_options), args.save_path, args.graph))


def main(argv=None):
    parser = Parser(description=__doc__)
    add_config(parser)
    parser.add_argument("--graph", action="store_true", help="also print the modules of the model")
    parser.add_argument("--save-path", help="also write the config to this file (.py, .json or .yaml)")
    add_cfg_options(parser)
    return run_guarded(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
