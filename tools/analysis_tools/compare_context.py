"""Compare context blocks: what recipes cost beside the plain FCN, and how much attention differs between positions.

The work is done by `gcseg.analysis.compare_costs` and `gcseg.analysis.compare_attention`.
"""

import sys
from pathlib import Path

try:
    import gcseg  # noqa: F401
except ModuleNotFoundError:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gcseg.cli import Parser, parse_cfg_options, run_guarded
from gcseg.cli.command import show
from gcseg.cli.options import add_json


def cost(args):
    from gcseg.analysis import compare_costs, find_recipes

    return compare_costs(
        args.configs or (find_recipes(args.recipes) if args.recipes else None),
        shape=args.shape,
        batch_size=args.batch_size,
        device=args.device,
        dtype=args.dtype,
        prepare=not args.unprepared,
        train=args.train,
        repeats=args.repeats,
        warmup=args.warmup,
        cfg_options=parse_cfg_options(args.cfg_options),
    )


def attention(args):
    from gcseg.analysis import compare_attention

    return compare_attention(
        args.nl,
        args.gc,
        args.images,
        max_images=args.max_images,
        pairs=args.pairs,
        seed=args.seed,
        device=args.device,
        picture=args.picture,
        queries=args.query,
    )


def run(args):
    report = args.compare(args)
    if args.markdown:
        Path(args.markdown).write_text(f"{report}\n", encoding="utf-8")
    show(report.as_dict(), str(report), args)


def main(argv=None):
    parser = Parser(description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="{cost,attention}")

    costs = commands.add_parser("cost", help="parameters, operations, time and memory of recipes beside the plain FCN")
    costs.set_defaults(compare=cost)
    which = costs.add_mutually_exclusive_group()
    which.add_argument(
        "configs", nargs="*", default=[], metavar="CONFIG", help="config files or packaged recipes; R-50 by default"
    )
    which.add_argument("--recipes", nargs="+", metavar="PATTERN", help="packaged recipes, such as 'context/*camvid*'")
    costs.add_argument(
        "--shape", type=int, nargs="+", metavar="N", help="height width, or one; the crop size by default"
    )
    costs.add_argument("--batch-size", type=int, default=1, help="images in a batch (default 1)")
    costs.add_argument(
        "--dtype", default="float32", help="float32 (default), or bfloat16 or float16 for mixed precision"
    )
    costs.add_argument("--unprepared", action="store_true", help="do not fold batch normalisation for the predictions")
    costs.add_argument("--train", action="store_true", help="measure forward, loss and backward in training too")
    costs.add_argument("--repeats", type=int, default=5, help="timed repetitions (default 5); 0: count alone")
    costs.add_argument("--warmup", type=int, default=2, help="repetitions before them (default 2)")
    costs.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="override values of all configs")

    maps = commands.add_parser("attention", help="how much attention maps differ from position to position")
    maps.set_defaults(compare=attention)
    spec = ("CONFIG", "CHECKPOINT [BLOCK]")
    maps.add_argument("--nl", nargs="+", required=True, metavar=spec, help="the trained non-local network")
    maps.add_argument("--gc", nargs="+", metavar=spec, help="a second model, with whose map the mean map is compared")
    maps.add_argument("--images", nargs="+", help="files or folders; the validation set of the first config by default")
    maps.add_argument("--max-images", type=int, help="at most this many of them, evenly spaced")
    maps.add_argument("--pairs", type=int, default=5000, help="pairs of maps drawn in each image (default 5000)")
    maps.add_argument("--seed", type=int, default=0, help="of the draw (default 0)")
    maps.add_argument("--picture", metavar="FILE", help="paint the maps of the first image")
    maps.add_argument(
        "--query", nargs=2, type=int, action="append", metavar=("ROW", "COLUMN"), help="paint this position's map"
    )
    for command in (costs, maps):
        command.add_argument("--device", help="the first GPU, or else the CPU, by default")
        command.add_argument("--markdown", metavar="FILE", help="write what is printed into this file too")
        add_json(command)
    return run_guarded(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
