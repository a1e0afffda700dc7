"""Functions behind ``tools/dataset_converters``: archives and annotations to the folders that the data sets read."""

from gcseg.utils.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        ".annotations": ("convert_coco", "convert_colours", "convert_labelme", "read_colours"),
        ".cityscapes": ("convert_cityscapes",),
        ".voc_aug": ("convert_voc_aug",),
    },
)
