"""Strip a checkpoint to what others need and put its hash into its name; see `gcseg.export.publish_checkpoint`."""

import sys
from pathlib import Path

try:
    import gcseg  # noqa: F401
except ModuleNotFoundError:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gcseg.cli import Parser, run_guarded


def run(args):
    from gcseg.export import publish_checkpoint

    print(publish_checkpoint(args.in_file, args.out_file))


def main(argv=None):
    parser = Parser(description=__doc__)
    parser.add_argument("in_file", help="checkpoint of a training")
    parser.add_argument("out_file", help="new file, .pth or .safetensors; the hash is added to its name")
    return run_guarded(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
