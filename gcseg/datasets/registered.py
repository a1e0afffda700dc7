"""Importing this module registers every data set of the package."""

from importlib import import_module
from pkgutil import iter_modules

import gcseg.datasets as _package

for _module in iter_modules(_package.__path__):
    if not _module.ispkg and not _module.name.startswith("_") and _module.name != "registered":
        import_module(f"{_package.__name__}.{_module.name}")
