"""Write a model as ONNX, torch.export or TorchScript, and check the file: the command `gcseg export`."""

import sys
from pathlib import Path

try:
    import gcseg  # noqa: F401
except ModuleNotFoundError:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gcseg.cli.export import EXPORT


def main(argv=None):
    return EXPORT.as_tool("export.py", argv)


if __name__ == "__main__":
    sys.exit(main())
