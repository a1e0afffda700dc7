"""gcseg: global-context networks (GCNet) for semantic segmentation.

Importing the package reads no files and loads neither torch nor mmengine: sub-packages are loaded when they are named.
"""

from gcseg.version import __version__

__all__ = ["__version__"]
