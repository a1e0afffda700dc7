"""Importing this module registers every transform of the package, and mmcv's."""

from importlib import import_module
from pkgutil import iter_modules

import mmcv.transforms  # noqa: F401  (registers mmcv's transforms in mmengine's registry)

import gcseg.datasets.transforms as _package

for _module in iter_modules(_package.__path__):
    if not _module.name.startswith("_") and _module.name != "registered":
        import_module(f"{_package.__name__}.{_module.name}")
