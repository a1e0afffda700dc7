"""Options that several commands have."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CONFIG_OR_CHECKPOINT = "config file, name of a packaged recipe, or a checkpoint alone, which carries its config"
LAUNCHERS = ("none", "pytorch", "slurm", "mpi")


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


def add_common(parser: argparse.ArgumentParser) -> None:
    """``--work-dir`` and ``--cfg-options``."""
    parser.add_argument("--work-dir", help="folder for logs and results; ./work_dirs/<name of the config> by default")
    add_cfg_options(parser)


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """``--cfg-options``, for :func:`parse_cfg_options`."""
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        metavar="KEY=VALUE",
        help="override values of the config: train_dataloader.batch_size=4 model.decode_head.num_classes=3 "
        "crop_size=256,256 'list=[[1,2],[3,4]]'",
    )


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """``--launcher`` and ``--local-rank``."""
    parser.add_argument("--launcher", choices=LAUNCHERS, default="none", help="who started the processes")
    parser.add_argument("--local-rank", "--local_rank", type=int, default=0, help="passed by old launchers")


def add_config(
    parser: argparse.ArgumentParser,
    nargs: str | None = None,
    dest: str = "config",
    help: str = "config file, or the name of a packaged recipe",
) -> None:
    """``CONFIG``, which shells complete by the names of the packaged recipes and by files."""
    parser.add_argument(dest, nargs=nargs, help=help).completer = _configs  # type: ignore[attr-defined]


def add_model(parser: argparse.ArgumentParser, help: str, dest: str = "checkpoint") -> None:
    """``CONFIG [CHECKPOINT]``, for :func:`model_of`.

    Args:
        parser: gets both.
        help: of the checkpoint.
        dest: its name.
    """
    add_config(parser, help=CONFIG_OR_CHECKPOINT)
    # Not nargs="?", which older Pythons take to be left out where options stand between the two.
    parser.add_argument(dest, metavar=f"[{dest}]", help=help).required = False


def model_of(
    args: argparse.Namespace, dest: str = "checkpoint", required: bool = True
) -> tuple[Any, Any, dict[str, Any] | None]:
    """What stands in the places of :func:`add_model`: config, checkpoint, and options that the config is yet to get.

    Raises:
        ConfigError: a config alone, where weights are ``required``; or a checkpoint that carries no config.
    """
    options, config, checkpoint = parse_cfg_options(args.cfg_options), args.config, getattr(args, dest)
    from gcseg.config import is_checkpoint

    if checkpoint is None and is_checkpoint(config):
        from gcseg.apis.stored_config import config_of_checkpoint
        from gcseg.engine.checkpoint import load_checkpoint_file

        cfg = config_of_checkpoint(load_checkpoint_file(config), config, options)
        if cfg.get("work_dir") is None:
            cfg.work_dir = str(Path("work_dirs") / Path(config).stem)
        return cfg, config, None
    if checkpoint is None and required:
        from gcseg.utils.errors import ConfigError

        raise ConfigError(f"{config}: no checkpoint is given; give one as well, or one alone that carries its config")
    return config, checkpoint, options


def _configs(prefix: str, **_: Any) -> list[str]:
    from glob import glob

    from gcseg.config import recipes

    return [name for name in [*recipes(), *glob(f"{prefix}*")] if name.startswith(prefix)]


def add_json(
    parser: argparse.ArgumentParser,
    help: str = "the result as JSON: in place of the text, or into a file",
    default: str | None = None,
) -> None:
    """``--json [FILE]``, for :func:`gcseg.cli.command.show`.

    Args:
        parser: gets the option.
        help: of the option.
        default: ``argparse.SUPPRESS`` for a parser inside of one that has the option, whose value it would put back.
    """
    parser.add_argument("--json", nargs="?", const="-", type=_json_file, metavar="FILE", help=help, default=default)


def _json_file(text: str) -> str:
    """A name for JSON, and not the word after ``--json`` that was meant for something else."""
    path = Path(text)
    if text == "-" or path.suffix in (".json", ".jsonl") or (path.exists() and not path.is_file()):
        return text
    raise argparse.ArgumentTypeError(
        f"{text!r} does not end in .json; to print the result, write --json last, or `--json -`"
    )
