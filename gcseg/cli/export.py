"""``gcseg export``, tools/deployment/export.py."""

from __future__ import annotations

import argparse

from gcseg.cli.command import Command, show
from gcseg.cli.options import add_cfg_options, add_json, add_model, model_of


def _parser(parser: argparse.ArgumentParser) -> None:
    add_model(parser, "weights: a file, a URL, or the name of a file in the weights folder")
    parser.add_argument("--format", default="onnx", choices=("onnx", "torch-export", "torchscript"))
    parser.add_argument("--out", metavar="FILE", help="the file (.onnx, .pt2, .ts); by default the config's name, here")
    parser.add_argument(
        "--output",
        default="labels",
        choices=("labels", "logits", "coarse"),
        help="classes of the pixels, logits at the size of the image, or logits at the size of the features",
    )
    parser.add_argument(
        "--input",
        default="image",
        choices=("image", "normalised"),
        help="uint8 RGB pixels (N, H, W, 3), or what the network takes: float32 (N, 3, H, W) after mean and std",
    )
    parser.add_argument(
        "--shape", type=int, nargs="+", metavar="N", help="height width, or one; the size to trace with"
    )
    parser.add_argument("--static", action="store_true", help="for images of --shape alone, one at a time")
    parser.add_argument("--fp16", action="store_true", help="weights and arithmetic in float16, for GPUs")
    parser.add_argument("--opset", type=int, metavar="N", help="version of ONNX's operators, 18 by default")
    parser.add_argument(
        "--tolerance", type=float, metavar="X", help="largest difference, as a share of the largest logit"
    )
    add_json(parser)
    add_cfg_options(parser)


def _run(args: argparse.Namespace) -> None:
    config, checkpoint, options = model_of(args)
    from gcseg.export import export_model

    found = export_model(
        config,
        checkpoint,
        args.out,
        args.format,
        output=args.output,
        input=args.input,
        shape=args.shape,
        static=args.static,
        fp16=args.fp16,
        opset=args.opset,
        tolerance=args.tolerance,
        cfg_options=options,
    )
    show(found.as_dict(), str(found), args)


EXPORT = Command(
    "export",
    "write a model as ONNX, torch.export or TorchScript, and check the file",
    """gcseg export my_config.py weights.pth
    gcseg export runs/mine/iter_40000.pth
    gcseg export my_config.py weights.pth --format torch-export --output logits --out model.pt2
    gcseg export my_config.py weights.pth --shape 512 1024 --static --fp16""",
    _parser,
    _run,
)
