"""Evaluate a checkpoint; `--help` lists the options. The work is done by `gcseg.apis.test.test`."""

import sys
from pathlib import Path

try:
    import gcseg  # noqa: F401
except ModuleNotFoundError:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gcseg.cli import test_main

if __name__ == "__main__":
    sys.exit(test_main())
