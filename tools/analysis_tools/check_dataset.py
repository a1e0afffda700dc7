"""Check every image and label of a config: the command `gcseg check`. Exit code 0: clean, 1: faults, 2: not run."""

import sys
from pathlib import Path

try:
    import gcseg  # noqa: F401
except ModuleNotFoundError:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gcseg.cli import check_main as main

if __name__ == "__main__":
    sys.exit(main())
