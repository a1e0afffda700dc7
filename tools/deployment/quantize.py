"""Write a model as ONNX in 8 bits, and compare its scores with float32's. See `gcseg.export.quantize_model`."""

import sys
from pathlib import Path

try:
    import gcseg  # noqa: F401
except ModuleNotFoundError:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gcseg.cli import Parser, run_guarded
from gcseg.cli.command import show
from gcseg.cli.options import add_cfg_options, add_json, add_model, model_of


def run(args):
    from gcseg.export import quantize_model

    config, model, options = model_of(args, dest="model")
    chosen = {} if args.exclude is None else dict(exclude=args.exclude)
    report = quantize_model(
        config,
        model,
        args.out,
        calibration_images=args.calibration_images,
        num=args.num,
        method=args.method,
        evaluate=not args.no_eval,
        threads=args.threads,
        cfg_options=options,
        **chosen,
    )
    show(report.as_dict(), str(report), args)


def main(argv=None):
    parser = Parser(description=__doc__)
    add_model(parser, "a checkpoint, or an .onnx file of tools/deployment/export.py", dest="model")
    parser.add_argument("--out", metavar="FILE", help="by default the model's name with _int8.onnx, here")
    parser.add_argument("--calibration-images", metavar="FOLDER", help="by default the config's training images")
    parser.add_argument("--num", type=int, default=64, metavar="N", help="how many of them (64)")
    parser.add_argument(
        "--method",
        default="minmax",
        choices=("minmax", "moving-average", "entropy", "percentile"),
        help="how the range of an activation follows from its values",
    )
    parser.add_argument(
        "--exclude", nargs="*", metavar="PART", help="parts to keep in float32, such as decode_head.conv_seg"
    )
    parser.add_argument("--no-eval", action="store_true", help="do not score the two files on the validation data")
    parser.add_argument("--threads", type=int, metavar="N", help="for ONNX Runtime; all cores by default")
    add_json(parser)
    add_cfg_options(parser)
    return run_guarded(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
