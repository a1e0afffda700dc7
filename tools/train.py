"""Train a model from a config; `--help` lists the options. The work is done by `gcseg.apis.train.train`."""

import sys
from pathlib import Path

try:
    import gcseg  # noqa: F401
except ModuleNotFoundError:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gcseg.cli import train_main

if __name__ == "__main__":
    sys.exit(train_main())
