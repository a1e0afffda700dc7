"""Cityscapes annotations to train ids; see `gcseg.datasets.converters.convert_cityscapes`."""

import sys
from pathlib import Path

try:
    import gcseg  # noqa: F401
except ModuleNotFoundError:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gcseg.cli import Parser, run_guarded


def run(args):
    from gcseg.datasets.converters import convert_cityscapes

    counts = convert_cityscapes(args.cityscapes_path, args.gt_dir, args.out_dir, args.nproc, args.source)
    print("done: " + ", ".join(f"{count} in {split}" for split, count in counts.items()))


def main(argv=None):
    parser = Parser(description=__doc__)
    parser.add_argument("cityscapes_path", help="folder with gtFine/")
    parser.add_argument("--gt-dir", default="gtFine", help="gtFine or gtCoarse")
    parser.add_argument("-o", "--out-dir", help="folder of train.txt, val.txt, test.txt; cityscapes_path by default")
    parser.add_argument("--nproc", default=1, type=int, help="number of processes")
    parser.add_argument("--source", default="auto", help="polygons, labelIds, or what is there (auto)")
    return run_guarded(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
