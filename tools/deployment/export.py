"""Write a model as ONNX, torch.export or TorchScript, and check the file. See `gcseg.export.export_model`."""

import argparse
import sys
from pathlib import Path

try:
    import gcseg  # noqa: F401
except ModuleNotFoundError:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gcseg.cli import parse_cfg_options, run_guarded


def run(args):
    from gcseg.export import export_model

    print(
        export_model(
            args.config,
            args.checkpoint,
            args.out,
            args.format,
            output=args.output,
            input=args.input,
            shape=args.shape,
            static=args.static,
            fp16=args.fp16,
            opset=args.opset,
            tolerance=args.tolerance,
            cfg_options=parse_cfg_options(args.cfg_options),
        )
    )


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file, or the name of a packaged recipe")
    parser.add_argument("checkpoint", help="weights: a file or a URL")
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
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="override values of the config")
    return run_guarded(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
