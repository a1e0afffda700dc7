"""Module paths of mmsegmentation that no file of gcseg has, and where their names live.

``from gcseg.models.utils import resize`` is what an import of mmsegmentation becomes when ``mmseg`` is replaced by
``gcseg``. Python asks :class:`Finder` for a module that it finds nowhere else; the module made here hands on the names
of :data:`MOVED`, each of which is the object of its home.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from gcseg.utils.lazy import lazy_names

_SAMPLERS = "gcseg.models.losses.ohem_pixel_sampler"

#: Path in mmsegmentation, with ``gcseg`` for ``mmseg`` -> module here -> names.
MOVED: dict[str, dict[str, tuple[str, ...]]] = {
    "gcseg.apis.mmseg_inferencer": {"gcseg.apis.inferencer": ("MMSegInferencer",)},
    "gcseg.datasets.transforms.transforms": {
        "gcseg.datasets.transforms": (
            "AdjustGamma",
            "Albu",
            "CLAHE",
            "GenerateEdge",
            "PhotoMetricDistortion",
            "RGB2Gray",
            "RandomCrop",
            "RandomCutOut",
            "RandomFlip",
            "RandomMosaic",
            "RandomRotate",
            "Rerange",
            "Resize",
            "ResizeShortestEdge",
            "ResizeToMultiple",
            "SegRescale",
        )
    },
    "gcseg.models.utils": {"gcseg.ops": ("resize",)},
    "gcseg.models.utils.wrappers": {"gcseg.ops": ("resize",)},
    "gcseg.structures.sampler": {_SAMPLERS: ("BasePixelSampler", "OHEMPixelSampler", "build_pixel_sampler")},
    "gcseg.structures.sampler.base_pixel_sampler": {_SAMPLERS: ("BasePixelSampler",)},
    "gcseg.structures.sampler.builder": {_SAMPLERS: ("build_pixel_sampler",)},
    "gcseg.structures.sampler.ohem_pixel_sampler": {_SAMPLERS: ("BasePixelSampler", "OHEMPixelSampler")},
    "gcseg.utils.misc": {"gcseg.utils.names": ("add_prefix",)},
    "gcseg.utils.set_env": {"gcseg.config": ("register_all_modules",)},
}


class Finder:
    """Makes the modules of :data:`MOVED`; Python's protocols for finders and loaders (PEP 451)."""

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """The description of a module of :data:`MOVED`, None for others."""
        if name not in MOVED:
            return None
        return ModuleSpec(name, cls, is_package=any(other.startswith(f"{name}.") for other in MOVED))  # type: ignore[arg-type]

    @staticmethod
    def create_module(spec: ModuleSpec) -> None:
        """Let Python make an empty module."""

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """Teach the module its names."""
        names = lazy_names(module.__name__, MOVED[module.__name__])
        module.__dict__.update(zip(("__getattr__", "__dir__", "__all__"), names, strict=True))


def install() -> None:
    """Let Python ask :class:`Finder` last, once."""
    if Finder not in sys.meta_path:
        sys.meta_path.append(Finder)
