"""``python -m gcseg``."""

import sys

from gcseg.cli import main

if __name__ == "__main__":
    sys.exit(main())
