"""``gcseg configs`` and ``gcseg zoo``."""

from __future__ import annotations

import argparse

from gcseg.cli.command import Command, show
from gcseg.cli.options import add_cfg_options, add_json, parse_cfg_options
from gcseg.utils.errors import ConfigError


def _configs_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="*", help="only the recipes whose names have all of these")
    parser.add_argument("--paths", action="store_true", help="print the files beside the names")
    add_json(parser)


def _configs(args: argparse.Namespace) -> int:
    from gcseg.config import recipes

    found = {name: str(file) for name, file in recipes().items() if all(word in name for word in args.words)}
    if not found:
        raise ConfigError(f"no recipe has all of these in its name: {', '.join(args.words)}; `gcseg configs` lists all")
    show(found, "\n".join(f"{name}  {file}" if args.paths else name for name, file in found.items()), args)
    return 0


def _zoo_parser(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="{list,download,verify}")
    parser.set_defaults(action="list", words=[])
    add_json(parser)
    listing = actions.add_parser("list", help="the published models and their results (the default)")
    listing.add_argument("words", nargs="*", help="only the models whose names have all of these")
    add_json(listing, default=argparse.SUPPRESS)
    download = actions.add_parser("download", help="fetch weights, going on where a download was cut off")
    download.add_argument(
        "names", nargs="+", metavar="NAME", help="model, or part of its name, or `all`; or open-mmlab://resnet50_v1c"
    ).completer = _published  # type: ignore[attr-defined]
    download.add_argument("--folder", help="where to put them; by default GCSEG_WEIGHTS, or torch's cache")
    add_json(download, default=argparse.SUPPRESS)
    verify = actions.add_parser("verify", help="evaluate a model, and compare with its published mIoU")
    name = verify.add_argument("name", metavar="NAME", help="model, as `gcseg zoo` lists it")
    name.completer = _published  # type: ignore[attr-defined]
    verify.add_argument("--data", help="folder of the data set (data_root); as the recipe says by default")
    verify.add_argument("--tta", action="store_true", help="with multiple scales and flipping")
    verify.add_argument("--amp", action="store_true", help="compute in bfloat16, or in float16 on older GPUs")
    verify.add_argument(
        "--tolerance", type=float, default=0.1, help="points of mIoU that may lie between them (default 0.1)"
    )
    verify.add_argument("--work-dir", help="folder for logs and results")
    add_json(verify, default=argparse.SUPPRESS)
    add_cfg_options(verify)


def _published(**_: object) -> list[str]:
    """For the completion in shells."""
    from gcseg.apis.zoo import published_models

    return [model.name for model in published_models()]


def _zoo(args: argparse.Namespace) -> int:
    from gcseg.apis import zoo

    if args.action == "download":
        files = [str(file) for file in zoo.download_models(args.names, args.folder)]
        show(files, "\n".join(files), args)
        return 0
    if args.action == "verify":
        options = parse_cfg_options(args.cfg_options)
        found = zoo.verify_model(args.name, args.data, args.tta, args.amp, args.tolerance, args.work_dir, options)
        show(found.as_dict(), str(found), args)
        return 0 if found.agrees else 1
    models = zoo.published_models(args.words)
    show([model.as_dict() for model in models], zoo.table(models), args)
    return 0 if models else 1


CONFIGS = Command(
    "configs",
    "list and search the packaged recipes",
    """gcseg configs
    gcseg configs r101 cityscapes --paths""",
    _configs_parser,
    _configs,
)
ZOO = Command(
    "zoo",
    "list, download and verify the published models",
    """gcseg zoo
    gcseg zoo list r50 ade20k
    gcseg zoo download gcnet_r50-d8_4xb4-80k_ade20k-512x512 --folder weights
    gcseg zoo verify gcnet_r50-d8_4xb2-40k_cityscapes-512x1024 --data /data/cityscapes --tta""",
    _zoo_parser,
    _zoo,
)
