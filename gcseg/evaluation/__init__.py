"""Metrics. ``metrics`` holds the classes that configs name, ``scores`` the arithmetic without any framework."""

from gcseg.utils.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        ".metrics": ("CityscapesMetric", "IoUMetric"),
        ".scores": ("areas_from_confusion", "scores_from_areas"),
    },
)
