"""gcseg: global-context networks (GCNet) for semantic segmentation.

Importing the package loads neither torch nor mmengine: sub-packages are loaded when they are named.
"""

from gcseg import mmseg_paths
from gcseg.utils.lazy import lazy_names
from gcseg.version import __version__, version_info

mmseg_paths.install()
__getattr__, __dir__, _handed_on = lazy_names(
    __name__,
    {
        "gcseg.apis.create": ("create_model", "list_models"),
        "gcseg.apis.hub": ("push_to_hub",),
        "gcseg.apis.pretrained": ("from_pretrained", "save_pretrained"),
        "mmengine.utils": ("digit_version",),
    },
)

__all__ = ["__version__", "version_info", *_handed_on]
