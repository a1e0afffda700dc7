"""The commands ``gcseg train|test|demo|check|store|configs``, and the parsers of tools/train.py and tools/test.py.

Parsing loads neither torch nor mmengine: ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from gcseg.utils.errors import GcsegError
from gcseg.version import __version__

LAUNCHERS = ("none", "pytorch", "slurm", "mpi")
_USER_ERROR = 2


def parse_cfg_options(pairs: Sequence[str] | None) -> dict[str, Any] | None:
    """``["a.b=1", "c=[1,2]"]`` -> ``{"a.b": 1, "c": [1, 2]}``, by mmengine's rules.

    Raises:
        ConfigError: a part is not of the form key=value, or its brackets do not match.
    """
    if not pairs:
        return None
    from gcseg.utils.errors import ConfigError

    bad = [p for p in pairs if "=" not in p or p.startswith("=")]
    if bad:
        raise ConfigError(f"--cfg-options {bad[0]}: expected key=value, such as optim_wrapper.optimizer.lr=0.02")
    from mmengine.config import DictAction

    from gcseg.utils.signatures import shortened

    action, found = DictAction(["--cfg-options"], dest="cfg_options"), argparse.Namespace()
    for pair in pairs:
        try:
            action(argparse.ArgumentParser(), found, [pair])
        except (AssertionError, RecursionError):
            raise ConfigError(
                f"--cfg-options {shortened(pair)}: its brackets cannot be read; write a list as [1,2] or 1,2 and a "
                "list of lists as [[1,2],[3,4]]"
            ) from None
    return found.cfg_options


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--work-dir", help="folder for logs and results; ./work_dirs/<name of the config> by default")
    _add_cfg_options(parser)


def _add_cfg_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        metavar="KEY=VALUE",
        help="override values of the config: train_dataloader.batch_size=4 model.decode_head.num_classes=3 "
        "crop_size=256,256 'list=[[1,2],[3,4]]'",
    )


def _add_launcher(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--launcher", choices=LAUNCHERS, default="none", help="who started the processes")
    parser.add_argument("--local-rank", "--local_rank", type=int, default=0, help="passed by old launchers")


def train_parser(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the options of training."""
    parser.add_argument("config", help="config file, or the name of a packaged recipe")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in the work dir")
    parser.add_argument("--amp", action="store_true", help="mixed precision: bfloat16, or float16 on older GPUs")
    parser.add_argument("--compile", action="store_true", help="torch.compile backbone and heads: minutes at first")
    parser.add_argument(
        "--auto-scale-lr", action="store_true", help="learning rate in proportion to the batch size of all processes"
    )
    _add_common(parser)
    _add_launcher(parser)
    parser.set_defaults(run=run_train)
    return parser


def test_parser(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the options of testing."""
    parser.add_argument("config", help="config file, or the name of a packaged recipe")
    parser.add_argument("checkpoint", help="checkpoint file, URL, or name of a file in the weights folder")
    parser.add_argument("--out", help="folder for the predictions as label images")
    parser.add_argument("--show", action="store_true", help="show every prediction in a window")
    parser.add_argument("--show-dir", help="folder for pictures: photograph, ground truth, prediction")
    parser.add_argument("--wait-time", type=float, default=2, help="seconds each window stays (default 2)")
    parser.add_argument("--tta", action="store_true", help="test-time augmentation: multi-scale and flip")
    parser.add_argument("--amp", action="store_true", help="compute in bfloat16, or in float16 on older GPUs")
    parser.add_argument("--compile", action="store_true", help="torch.compile backbone and head: minutes at first")
    _add_common(parser)
    _add_launcher(parser)
    parser.set_defaults(run=run_test)
    return parser


test_parser.__test__ = False  # type: ignore[attr-defined]  # not a test case


def _demo_parser(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument(
        "--amp", action=argparse.BooleanOptionalAction, help="by default where the hardware has bfloat16"
    )
    _add_common(parser)
    parser.set_defaults(run=run_demo)
    return parser


def _store_parser(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("config", help="config file, or the name of a packaged recipe")
    parser.add_argument("--out", help="folder of the store; decoded_store in the data_root of the data set by default")
    parser.add_argument(
        "--split", nargs="+", choices=("train", "val", "test"), default=["train"], help="whose data (default train)"
    )
    parser.add_argument("--threads", type=int, help="how many files are decoded at once; by default one per processor")
    _add_cfg_options(parser)
    parser.set_defaults(run=run_store)
    return parser


def check_parser(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the options of a check of the data."""
    parser.add_argument("config", help="config file, or the name of a packaged recipe")
    parser.add_argument(
        "--split", nargs="+", choices=("train", "val", "test"), help="whose data; all that the config has by default"
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="number of processes; by default one per processor, 0 for none"
    )
    parser.add_argument("--json", metavar="FILE", help="write everything that was found into this file")
    _add_cfg_options(parser)
    parser.set_defaults(run=run_check)
    return parser


def _configs_parser(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--paths", action="store_true", help="print the files beside the names")
    parser.set_defaults(run=run_configs)
    return parser


def run_train(args: argparse.Namespace) -> None:
    """``gcseg train``, tools/train.py."""
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    options = parse_cfg_options(args.cfg_options)
    from gcseg.apis.train import train

    train(args.config, args.work_dir, args.resume, args.amp, options, args.launcher, args.compile, args.auto_scale_lr)


def run_test(args: argparse.Namespace) -> None:
    """``gcseg test``, tools/test.py."""
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    options = parse_cfg_options(args.cfg_options)
    from gcseg.apis.test import test

    test(
        args.config,
        args.checkpoint,
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
    )


def run_demo(args: argparse.Namespace) -> None:
    """``gcseg demo``."""
    options = parse_cfg_options(args.cfg_options)
    from gcseg.apis.demo import run_demo as demo

    demo(args.work_dir, args.amp, options)


def run_store(args: argparse.Namespace) -> None:
    """``gcseg store``: decode the data once, for all runs to come."""
    options = parse_cfg_options(args.cfg_options)
    from gcseg.apis.store import write_store

    write_store(args.config, args.out, args.split, options, args.threads)


def run_check(args: argparse.Namespace) -> int:
    """``gcseg check``, tools/analysis_tools/check_dataset.py: 0 when the data are clean, 1 when there are faults."""
    options = parse_cfg_options(args.cfg_options)
    from gcseg.analysis import check_data

    report = check_data(args.config, args.split, args.workers, args.json, options)
    print(report)
    return report.exit_code


def run_configs(args: argparse.Namespace) -> None:
    """``gcseg configs``: the packaged recipes."""
    from gcseg.config import recipes

    for name, file in recipes().items():
        print(f"{name}  {file}" if args.paths else name)


def run_guarded(run: Callable[[argparse.Namespace], int | None], args: argparse.Namespace) -> int:
    """Run a command, whose exit code is what it returns, or 0.

    An error the user can mend is one paragraph on stderr and the exit code 2.

    ``GCSEG_TRACEBACK=1`` in the environment shows the traceback instead.
    """
    try:
        return run(args) or 0
    except GcsegError as e:
        if os.environ.get("GCSEG_TRACEBACK", "0") not in ("", "0"):
            raise
        print(f"gcseg: error: {_paragraph(e)}", file=sys.stderr)
        return _USER_ERROR
    except KeyboardInterrupt:
        print("gcseg: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _paragraph(error: GcsegError) -> str:
    """The error's own text; one that was raised in a data loader's process arrives with that process's traceback."""
    text = str(error).strip()
    if "Original Traceback" in text:
        text = text.rpartition(f"{type(error).__name__}: ")[2]
    return " ".join(text.split())


def train_main(argv: Sequence[str] | None = None) -> int:
    """The command of tools/train.py."""
    parser = train_parser(argparse.ArgumentParser(prog="train.py", description="Train a segmentation model"))
    args = parser.parse_args(argv)
    return run_guarded(args.run, args)


def test_main(argv: Sequence[str] | None = None) -> int:
    """The command of tools/test.py."""
    parser = test_parser(argparse.ArgumentParser(prog="test.py", description="Evaluate a segmentation model"))
    args = parser.parse_args(argv)
    return run_guarded(args.run, args)


test_main.__test__ = False  # type: ignore[attr-defined]  # not a test case


def main(argv: Sequence[str] | None = None) -> int:
    """The command ``gcseg``."""
    parser = argparse.ArgumentParser(prog="gcseg", description="GCNet for semantic segmentation")
    parser.add_argument("--version", action="version", version=f"gcseg {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="{train,test,demo,check,store,configs}")
    train_parser(commands.add_parser("train", help="train a recipe"))
    test_parser(commands.add_parser("test", help="evaluate a checkpoint"))
    _demo_parser(commands.add_parser("demo", help="train, evaluate and paint the demo recipe: minutes on a CPU"))
    check_parser(commands.add_parser("check", help="look at every image and label of a recipe"))
    _store_parser(commands.add_parser("store", help="decode the data of a recipe once, so that training reads pixels"))
    _configs_parser(commands.add_parser("configs", help="list the packaged recipes"))
    args = parser.parse_args(argv)
    return run_guarded(args.run, args)


if __name__ == "__main__":
    sys.exit(main())
