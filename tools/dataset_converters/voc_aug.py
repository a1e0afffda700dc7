"""SBD annotations to PNG, and the lists of VOC 2012 + aug; see `gcseg.datasets.converters.convert_voc_aug`."""

import sys
from pathlib import Path

try:
    import gcseg  # noqa: F401
except ModuleNotFoundError:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gcseg.cli import Parser, run_guarded


def run(args):
    from gcseg.datasets.converters import convert_voc_aug

    counts = convert_voc_aug(args.devkit_path, args.aug_path, args.out_dir, args.nproc)
    print("done: {labels} labels, {trainaug} images in trainaug.txt, {aug} in aug.txt".format(**counts))


def main(argv=None):
    parser = Parser(description=__doc__)
    parser.add_argument("devkit_path", help="VOCdevkit, with VOC2012/")
    parser.add_argument("aug_path", help="SBD, with dataset/cls/*.mat")
    parser.add_argument("-o", "--out-dir", "--out_dir", help="folder of the PNG files; VOC2012/SegmentationClassAug")
    parser.add_argument("--nproc", default=1, type=int, help="number of processes")
    return run_guarded(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
