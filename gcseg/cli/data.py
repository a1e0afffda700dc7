"""``gcseg check`` and ``gcseg store``."""

from __future__ import annotations

import argparse

from gcseg.cli.command import Command, show
from gcseg.cli.options import add_cfg_options, add_config, add_json, parse_cfg_options

_SPLITS = ("train", "val", "test")


def _check_parser(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument("--split", nargs="+", choices=_SPLITS, help="whose data; all that the config has by default")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="number of processes; by default one per processor, 0 for none"
    )
    add_json(parser, help="everything that was found as JSON: in place of the text, or into a file")
    add_cfg_options(parser)


def _store_parser(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument("--out", help="folder of the store; decoded_store in the data_root of the data set by default")
    parser.add_argument("--split", nargs="+", choices=_SPLITS, default=["train"], help="whose data (default train)")
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="files decoded at once; one per processor by default, 8 at most",
    )
    add_json(parser)
    add_cfg_options(parser)


def _check(args: argparse.Namespace) -> int:
    options = parse_cfg_options(args.cfg_options)
    from gcseg.analysis import check_data

    report = check_data(args.config, args.split, args.workers, options)
    show(report.as_dict(), str(report), args)
    return report.exit_code


def _store(args: argparse.Namespace) -> None:
    options = parse_cfg_options(args.cfg_options)
    from gcseg.apis.store import write_store

    found = write_store(args.config, args.out, args.split, options, args.threads)
    show(found.as_dict(), str(found), args)


CHECK = Command(
    "check",
    "look at every image and label of a recipe",
    """gcseg check my_config.py
    gcseg check my_config.py --split train val --json found.json""",
    _check_parser,
    _check,
)
STORE = Command(
    "store",
    "decode the data of a recipe once, so that training reads pixels",
    """gcseg store my_config.py
    gcseg store my_config.py --split train val --out /fast/disk/store""",
    _store_parser,
    _store,
)
