"""Time predictions of a model: the command `gcseg benchmark`, whose work `gcseg.analysis.measure_speed` does."""

import sys
from pathlib import Path

try:
    import gcseg  # noqa: F401
except ModuleNotFoundError:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gcseg.cli.benchmark import BENCHMARK

if __name__ == "__main__":
    sys.exit(BENCHMARK.as_tool("benchmark.py"))
