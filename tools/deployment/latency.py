"""Time a model's ways of running on the CPU: in gcseg, and exported. See `gcseg.export.measure_latency`."""

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: threads that wait must leave the cores to others

try:
    import gcseg  # noqa: F401
except ModuleNotFoundError:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gcseg.cli import Parser, run_guarded
from gcseg.cli.command import show
from gcseg.cli.options import add_cfg_options, add_json, add_model, model_of


def run(args):
    from gcseg.export import measure_latency

    config, checkpoint, options = model_of(args, required=False)
    chosen = {} if args.only is None else dict(contestants=args.only)
    report = measure_latency(
        config,
        checkpoint,
        [(args.shape[i], args.shape[i + 1]) for i in range(0, len(args.shape), 2)],
        rounds=args.rounds,
        threads=args.threads,
        num=args.num,
        calibration_images=args.calibration_images,
        cfg_options=options,
        **chosen,
    )
    show(report.as_dict(), str(report), args)


def main(argv=None):
    parser = Parser(description=__doc__)
    add_model(parser, "weights; random without, which takes the same time")
    parser.add_argument(
        "--shape", type=int, nargs="+", default=[512, 1024], metavar="N", help="height width, one or several pairs"
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="contestants, such as eager onnx onnx-int8")
    parser.add_argument("--rounds", type=int, default=10, metavar="N", help="timed runs of each (10)")
    parser.add_argument("--threads", type=int, metavar="N", help="all cores by default")
    parser.add_argument("--num", type=int, default=16, metavar="N", help="images to calibrate 8 bits with (16)")
    parser.add_argument("--calibration-images", metavar="FOLDER", help="by default the config's training images")
    add_json(parser)
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    if len(args.shape) % 2:
        parser.error("--shape takes pairs of height and width")
    return run_guarded(run, args)


if __name__ == "__main__":
    sys.exit(main())
