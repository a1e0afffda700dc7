"""``gcseg benchmark``."""

from __future__ import annotations

import argparse

from gcseg.cli.command import Command, show
from gcseg.cli.options import add_cfg_options, add_json, add_model, model_of


def _parser(parser: argparse.ArgumentParser) -> None:
    add_model(parser, "weights, which do not change the speed; random by default")
    parser.add_argument(
        "--shape", type=int, nargs="+", metavar="N", help="height width, or one; the crop size by default"
    )
    parser.add_argument("--batch-size", type=int, default=1, help="images computed at once (default 1)")
    parser.add_argument("--device", help="cpu, cuda:1 ...; by default the first GPU, or the CPU where there is none")
    parser.add_argument("--amp", action="store_true", help="compute in bfloat16, or in float16 on older GPUs")
    parser.add_argument("--compile", action="store_true", help="torch.compile backbone and head: minutes at first")
    parser.add_argument("--unprepared", action="store_true", help="do not fold batch normalisations")
    parser.add_argument("--repeats", type=int, default=50, help="timed batches (default 50)")
    parser.add_argument("--warmup", type=int, default=5, help="batches before them (default 5)")
    add_json(parser)
    add_cfg_options(parser)


def _benchmark(args: argparse.Namespace) -> None:
    config, checkpoint, options = model_of(args, required=False)
    from gcseg.analysis import measure_speed

    found = measure_speed(
        config,
        checkpoint,
        shape=args.shape,
        batch_size=args.batch_size,
        device=args.device,
        amp=args.amp,
        compile=args.compile,
        fast=not args.unprepared,
        repeats=args.repeats,
        warmup=args.warmup,
        cfg_options=options,
    )
    show(found.as_dict(), str(found), args)


BENCHMARK = Command(
    "benchmark",
    "time predictions: images per second, spread, memory",
    """gcseg benchmark gcnet_r50-d8_4xb2-40k_cityscapes-512x1024 --shape 1024 2048
    gcseg benchmark my_config.py --amp --batch-size 4 --repeats 200 --json speed.json""",
    _parser,
    _benchmark,
)
