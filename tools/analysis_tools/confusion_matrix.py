"""Count which class was taken for which, from a checkpoint or from predictions in a folder.

The work is done by `gcseg.analysis.confusion_of_checkpoint` and `confusion_of_folder`. Unlike mmsegmentation's tool
this one finds each image's prediction by its name (there the files are taken in the order of the folder), counts in
whole numbers, says how many pixels were predicted as no class, and shifts the labels of ADE20K once.
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
from gcseg.cli.options import CONFIG_OR_CHECKPOINT, add_cfg_options, add_config, add_json, model_of


def run(args):
    from gcseg.analysis import confusion_of_checkpoint, confusion_of_folder

    if args.folder:
        found = confusion_of_folder(args.config, args.folder, args.form, parse_cfg_options(args.cfg_options))
    else:
        config, checkpoint, options = model_of(args)
        found = confusion_of_checkpoint(config, checkpoint, options, args.amp)
    if args.plot:
        found.plot(args.plot)
    if args.csv:
        found.save_csv(args.csv)
    show(found.as_dict(), str(found), args)


def main(argv=None):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_config(parser, help=CONFIG_OR_CHECKPOINT)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--checkpoint", help="predict the test data with it")
    source.add_argument("--folder", help="predictions of the test data, NAME_OF_IMAGE.png")
    parser.add_argument(
        "--form",
        default="test",
        help="of the folder: test (gcseg test --out, the default), index (gcseg predict), cityscapes (label ids)",
    )
    parser.add_argument("--amp", action="store_true", help="compute in bfloat16, or in float16 on older GPUs")
    parser.add_argument("--plot", metavar="PICTURE", help="draw the shares of each true class")
    parser.add_argument("--csv", metavar="FILE", help="write the counts")
    add_json(parser)
    add_cfg_options(parser)
    return run_guarded(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
