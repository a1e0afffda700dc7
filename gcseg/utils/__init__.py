"""Small helpers that know nothing of the layers above.

Some names stand here because mmsegmentation keeps them in its ``utils``; they are handed on from where they live when
somebody asks for them.
"""

from gcseg.utils.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    GcsegError,
    HardwareError,
    WeightsNotFoundError,
)
from gcseg.utils.lazy import lazy_names
from gcseg.utils.names import add_prefix, nearest, unknown_name_message
from gcseg.utils.progress import progress

__getattr__, __dir__, _handed_on = lazy_names(
    __name__,
    {
        "gcseg.config": ("register_all_modules",),
        "gcseg.engine.hardware": ("collect_env",),
        ".class_names": (
            "ade_classes",
            "ade_palette",
            "cityscapes_classes",
            "cityscapes_palette",
            "get_classes",
            "get_palette",
            "voc_classes",
            "voc_palette",
        ),
        ".typing_utils": (
            "ConfigType",
            "ForwardResults",
            "MultiConfig",
            "OptConfigType",
            "OptMultiConfig",
            "OptSampleList",
            "SampleList",
            "TensorDict",
            "TensorList",
        ),
    },
)

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "GcsegError",
    "HardwareError",
    "WeightsNotFoundError",
    "add_prefix",
    "nearest",
    "progress",
    "unknown_name_message",
    *_handed_on,
]
