"""Pictures of predictions. ``local_visualizer`` holds the class that configs name, the rest are plain functions."""

from gcseg.utils.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        ".attention": ("AttentionTile", "paint_attention"),
        ".local_visualizer": ("SegLocalVisualizer",),
        ".paint": ("generate_palette", "label_regions", "overlay"),
        ".panel": ("paint_panel",),
        ".display": ("require_display",),
    },
)
