"""``gcseg train``, ``gcseg test`` and ``gcseg demo``."""

from __future__ import annotations

import argparse
import os
from typing import Any

from gcseg.cli.command import Command, show
from gcseg.cli.options import (
    add_common,
    add_config,
    add_json,
    add_launcher,
    add_model,
    model_of,
    parse_cfg_options,
)

_COMPILE = "torch.compile backbone and heads: minutes at first"


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--report",
        nargs="?",
        const=True,
        default=False,
        metavar="FILE",
        help="a page for the browser; report.html in the work dir by default",
    )


def _add_limit(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--limit", type=int, metavar="N", help="the first N images of each data set alone")


def train_parser(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the options of training."""
    add_config(parser)
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in the work dir")
    parser.add_argument("--amp", action="store_true", help="mixed precision: bfloat16, or float16 on older GPUs")
    parser.add_argument("--compile", action="store_true", help=_COMPILE)
    parser.add_argument(
        "--auto-scale-lr", action="store_true", help="learning rate in proportion to the batch size of all processes"
    )
    _add_report(parser)
    trial = parser.add_argument_group("trials, before hours are spent")
    _add_limit(trial)
    trial = trial.add_mutually_exclusive_group()
    trial.add_argument(
        "--dry-run", action="store_true", help="one step of training, validation and checkpoint; nothing is kept"
    )
    trial.add_argument(
        "--overfit",
        type=int,
        nargs="?",
        const=100,
        metavar="N",
        help="learn one batch by heart in N iterations (100); nothing is kept",
    )
    add_json(parser)
    add_common(parser)
    add_launcher(parser)
    return parser


def test_parser(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the options of testing."""
    add_model(parser, "checkpoint file, URL, or name of a file in the weights folder")
    parser.add_argument("--out", help="folder for the predictions as label images")
    parser.add_argument("--show", action="store_true", help="show every prediction in a window")
    parser.add_argument("--show-dir", help="folder for pictures: photograph, ground truth, prediction")
    parser.add_argument("--wait-time", type=float, default=2, help="seconds each window stays (default 2)")
    parser.add_argument("--tta", action="store_true", help="test-time augmentation: multi-scale and flip")
    parser.add_argument("--amp", action="store_true", help="compute in bfloat16, or in float16 on older GPUs")
    parser.add_argument("--compile", action="store_true", help=_COMPILE)
    _add_limit(parser)
    _add_report(parser)
    add_json(parser)
    add_common(parser)
    add_launcher(parser)
    return parser


test_parser.__test__ = False  # type: ignore[attr-defined]  # not a test case


def _demo_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--amp", action=argparse.BooleanOptionalAction, help="by default where the hardware has bfloat16"
    )
    add_json(parser)
    add_common(parser)


def _join(args: argparse.Namespace) -> None:
    """Before mmengine is imported: what a process needs that was started together with others."""
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    if args.launcher != "none":
        from gcseg.utils.yapf_cache import import_yapf

        import_yapf()


def _train(args: argparse.Namespace) -> int | None:
    _join(args)
    options = parse_cfg_options(args.cfg_options)
    if args.dry_run or args.overfit is not None:
        return _trial(args, options)
    from gcseg.apis.outcome import training_outcome
    from gcseg.apis.train import train

    runner = train(
        args.config,
        work_dir=args.work_dir,
        resume=args.resume,
        amp=args.amp,
        cfg_options=options,
        launcher=args.launcher,
        compile=args.compile,
        auto_scale_lr=args.auto_scale_lr,
        limit=args.limit,
        report=args.report,
    )
    found = training_outcome(runner)
    show(found.as_dict(), str(found), args)
    return 0


def _trial(args: argparse.Namespace, options: dict[str, Any] | None) -> int:
    from gcseg.apis.trial import dry_run, overfit
    from gcseg.utils.errors import ConfigError

    names = ("resume", "compile", "auto_scale_lr", "work_dir", "limit", "report")
    without_effect = [f"--{name.replace('_', '-')}" for name in names if getattr(args, name)]
    if args.launcher != "none":
        without_effect.append("--launcher")
    if without_effect:
        raise ConfigError(f"{', '.join(without_effect)}: no effect with --dry-run or --overfit; leave it out")
    if args.dry_run:
        done = dry_run(args.config, args.amp, options)
        show(done.as_dict(), str(done), args)
        return 0
    found = overfit(args.config, args.overfit, args.amp, options)
    show(found.as_dict(), str(found), args)
    return 0 if found.learnt else 1


def _test(args: argparse.Namespace) -> None:
    _join(args)
    config, checkpoint, options = model_of(args)
    from gcseg.apis.test import test

    found = test(
        config,
        checkpoint,
        work_dir=args.work_dir,
        out=args.out,
        show=args.show,
        show_dir=args.show_dir,
        wait_time=args.wait_time,
        cfg_options=options,
        launcher=args.launcher,
        tta=args.tta,
        amp=args.amp,
        compile=args.compile,
        report=args.report,
        limit=args.limit,
    )
    show(found.as_dict(), found.summary(), args)


def _demo(args: argparse.Namespace) -> None:
    options = parse_cfg_options(args.cfg_options)
    from gcseg.apis.demo import run_demo

    found = run_demo(args.work_dir, args.amp, options)
    show(found.as_dict(), found.summary(), args)


TRAIN = Command(
    "train",
    "train a segmentation model",
    """gcseg train gcnet_r50-d8_4xb2-40k_cityscapes-512x1024
    gcseg train my_config.py --amp --work-dir runs/mine
    gcseg train my_config.py --dry-run
    gcseg train my_config.py --resume --cfg-options optim_wrapper.optimizer.lr=0.005""",
    train_parser,
    _train,
)
TEST = Command(
    "test",
    "evaluate a segmentation model",
    """gcseg test gcnet_r50-d8_4xb2-40k_cityscapes-512x1024 weights.pth
    gcseg test runs/mine/iter_40000.pth
    gcseg test my_config.py runs/mine/iter_40000.pth --tta --show-dir pictures
    gcseg test my_config.py runs/mine/iter_40000.pth --limit 50 --json scores.json""",
    test_parser,
    _test,
)
DEMO = Command(
    "demo",
    "train, evaluate and paint the demo recipe: minutes on a CPU",
    """gcseg demo
    gcseg demo --work-dir runs/demo""",
    _demo_parser,
    _demo,
)
