"""LabelMe, COCO or colour-coded labels to a folder for FolderDataset; see `gcseg.datasets.converters.annotations`."""

import shlex
import sys
from pathlib import Path

try:
    import gcseg  # noqa: F401
except ModuleNotFoundError:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gcseg.cli import Parser, run_guarded


def run(args):
    from gcseg.datasets import converters

    options = dict(val_share=args.val_share, seed=args.seed, link=args.link, nproc=args.nproc)
    if args.kind == "labelme":
        counts = converters.convert_labelme(args.folder, args.out, args.classes, args.background, **options)
    elif args.kind == "coco":
        counts = converters.convert_coco(args.annotations, args.images, args.out, args.background, **options)
    else:
        colours = converters.read_colours(args.colours)
        unlabelled = [tuple(map(int, text.split(","))) for text in args.unlabelled]
        counts = converters.convert_colours(args.images, args.labels, args.out, colours, unlabelled, **options)
    print(f"{args.out}: " + ", ".join(f"{count} in {split}" for split, count in counts.items()))
    print(f"now: GCSEG_FOLDER={shlex.quote(args.out)} gcseg check YOUR_CONFIG.py, and then gcseg train YOUR_CONFIG.py")


def main(argv=None):
    parser = Parser(description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    labelme = kinds.add_parser("labelme", help="a JSON file beside each image")
    labelme.add_argument("folder", help="folder of the JSON files")
    labelme.add_argument("--classes", nargs="+", metavar="NAME", help="in the order of their labels; found by default")
    coco = kinds.add_parser("coco", help="one JSON file of instances")
    coco.add_argument("annotations", help="the JSON file")
    coco.add_argument("images", help="folder of the images")
    colours = kinds.add_parser("colours", help="label images that show classes by colours")
    colours.add_argument("images", help="folder of the images")
    colours.add_argument("labels", help="folder of the label images")
    colours.add_argument("colours", help="text file, one class a line: NAME R G B")
    colours.add_argument("--unlabelled", nargs="+", default=[], metavar="R,G,B", help="colours that mean no class")
    for kind in (labelme, coco):
        kind.add_argument(
            "--background", metavar="NAME", help="class 0 of all that is not drawn; else it is unlabelled"
        )
    for kind in (labelme, coco, colours):
        kind.add_argument("--out", required=True, help="folder to write")
        kind.add_argument("--val-share", type=float, default=0.1, help="share of the images for validation (0.1)")
        kind.add_argument("--seed", type=int, default=0, help="draws another validation set")
        kind.add_argument("--link", action="store_true", help="link the images instead of copying them")
        kind.add_argument("--nproc", type=int, default=1, help="number of processes")
    return run_guarded(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
