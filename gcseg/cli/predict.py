"""``gcseg predict``."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TextIO

from gcseg.cli.command import Command
from gcseg.cli.options import add_cfg_options, add_config, add_json, parse_cfg_options


def _parser(parser: argparse.ArgumentParser) -> None:
    add_config(parser, dest="model", help="recipe, config file, or checkpoint that carries its config")
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="image, video, folder, or pattern in quotes")
    parser.add_argument("--out", required=True, help="folder of the results, which get folders by kind in it")
    parser.add_argument("--weights", help="for a recipe or config; a published recipe brings its own")
    parser.add_argument(
        "--save",
        nargs="+",
        metavar="KIND",
        default=["overlay", "index"],
        help="overlay: the classes painted over the image; index: PNG of class indices; palette: the same in colours; "
        "probs: probabilities, float16 in .npz (default overlay index)",
    )
    parser.add_argument("--recursive", action="store_true", help="folders with all folders in them")
    parser.add_argument(
        "--batch-size", type=int, default=1, help="images computed at once; those of one size share a batch (default 1)"
    )
    parser.add_argument("--device", help="cpu, cuda:1 ...; by default the first GPU, or the CPU where there is none")
    parser.add_argument("--amp", action="store_true", help="compute in bfloat16, or in float16 on older GPUs")
    parser.add_argument("--tta", action="store_true", help="test-time augmentation: multi-scale and flip")
    parser.add_argument("--opacity", type=float, default=0.5, help="share of the colour in overlays (default 0.5)")
    parser.add_argument("--no-labels", action="store_true", help="no names of classes in overlays")
    add_json(parser, help="one line of JSON per file: on the standard output, or into a file")
    add_cfg_options(parser)


def _predict(args: argparse.Namespace) -> int:
    options = parse_cfg_options(args.cfg_options)
    from gcseg.apis.predict import FileResult, predict

    with _lines(args) as lines:

        def tell(result: FileResult) -> None:
            if lines is not None:
                print(json.dumps(result.as_dict()), file=lines, flush=True)

        results = predict(
            args.model,
            args.inputs,
            args.out,
            weights=args.weights,
            save=args.save,
            recursive=args.recursive,
            batch_size=args.batch_size,
            device=args.device,
            amp=args.amp,
            tta=args.tta,
            opacity=args.opacity,
            with_labels=not args.no_labels,
            cfg_options=options,
            on_result=tell,
        )
    failed = [result for result in results if result.error is not None]
    if args.json != "-":
        print(f"{len(results) - len(failed)} of {len(results)} files are predicted; the results are in {args.out}")
    for result in failed:
        print(f"failed: {result.input}: {result.error}", file=sys.stderr)
    return 1 if failed else 0


def _lines(args: argparse.Namespace) -> AbstractContextManager[TextIO | None]:
    """Where the lines of JSON go, if anywhere."""
    if args.json in (None, "-"):
        return nullcontext(args.stdout if args.json else None)
    from gcseg.utils.writable import writing

    with writing(f"--json {args.json}"):
        return open(args.json, "w", encoding="utf-8")


PREDICT = Command(
    "predict",
    "segment images, folders and videos",
    """gcseg predict gcnet_r50-d8_4xb2-40k_cityscapes-512x1024 street.jpg --out results
    gcseg predict work_dirs/my_config/iter_40000.pth photos/ drive.mp4 --out results --recursive --batch-size 4
    gcseg predict my_config.py 'photos/**/*.jpg' --weights weights.pth --out results --save palette probs --json""",
    _parser,
    _predict,
)
