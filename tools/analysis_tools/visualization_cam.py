"""Paint where in an image a class comes from (Grad-CAM), or what the context block attends to.

The work is done by `gcseg.analysis.grad_cam`; a layer is any module of the model, by its name. Unlike mmsegmentation's
tool this one needs no package for it, prepares the image as the config says (there by ImageNet's mean, whatever the
model was trained with), and weights the class by its logits at the positions that are predicted as it.
"""

import argparse
import sys
from pathlib import Path

try:
    import gcseg  # noqa: F401
except ModuleNotFoundError:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gcseg.cli import Parser, run_guarded
from gcseg.cli.options import add_cfg_options, add_model, model_of


def run(args):
    from gcseg.analysis import AttentionProbe, draw_attention, grad_cam
    from gcseg.apis import init_model
    from gcseg.apis.images import photograph
    from gcseg.visualization.attention import AttentionTile, paint_attention
    from gcseg.visualization.local_visualizer import write_picture

    config, checkpoint, options = model_of(args)
    model = init_model(config, checkpoint, args.device, options)
    if args.attention:
        picture = draw_attention(args.image, AttentionProbe(model, args.layer)(args.image))
    else:
        layer = args.layer or "backbone.layer4"
        tiles = [
            AttentionTile(str(name), grad_cam(model, args.image, name, layer, args.pixel and tuple(args.pixel)))
            for name in args.classes
        ]
        picture = paint_attention(photograph(args.image), tiles)
    print(write_picture(picture, args.out))


def main(argv=None):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", help="image file")
    add_model(parser, "checkpoint file, URL, or name of a file in the weights folder")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--classes", nargs="+", metavar="CLASS", help="names or indices")
    what.add_argument("--attention", action="store_true", help="the attention of the context block instead")
    parser.add_argument("--out", default="cam.png", metavar="PICTURE", help="file to write (default cam.png)")
    parser.add_argument(
        "--layer", help="module of the model (default backbone.layer4); with --attention, the context block if several"
    )
    parser.add_argument("--pixel", type=int, nargs=2, metavar=("Y", "X"), help="of the head's logits, in place of all")
    parser.add_argument("--device", help="by default the first GPU, or the CPU where there is none")
    add_cfg_options(parser)
    return run_guarded(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
