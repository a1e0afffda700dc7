"""Packages that hand on names and load what stands behind a name when somebody asks for it (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(
    module: str, homes: Mapping[str, Iterable[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """What a module needs in order to hand names on.

    ``__getattr__, __dir__, __all__ = lazy_names(__name__, {".colours": ("Red", "Blue")})`` makes ``Red`` an attribute
    that imports ``.colours`` when it is read, and ``colours`` one that is that module. A name must not be that of a
    file of its own package: as soon as somebody imported the file, Python would bind the name to the file.

    Args:
        module: the ``__name__`` of the module.
        homes: where the names live, module -> names. A leading dot means "below ``module``".

    Returns:
        ``__getattr__``, ``__dir__`` and ``__all__`` of the module.
    """
    home_of = {name: home for home, names in homes.items() for name in names}

    def __getattr__(name: str) -> Any:
        if name in home_of:
            return getattr(import_module(home_of[name], module), name)
        if f".{name}" in homes:
            return import_module(f".{name}", module)
        # With name and obj, Python adds the nearest name to the message.
        raise AttributeError(f"module {module!r} has no attribute {name!r}", name=name, obj=sys.modules[module])

    def __dir__() -> list[str]:
        return sorted({*vars(sys.modules[module]), *home_of})

    return __getattr__, __dir__, sorted(home_of)
