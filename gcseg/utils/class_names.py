"""Class names and palettes under the names that mmsegmentation has for each data set; see :mod:`gcseg.metainfo`."""

from functools import partial

from gcseg.metainfo import get_classes, get_palette

__all__ = [
    "ade_classes",
    "ade_palette",
    "cityscapes_classes",
    "cityscapes_palette",
    "get_classes",
    "get_palette",
    "voc_classes",
    "voc_palette",
]

ade_classes, ade_palette = partial(get_classes, "ade20k"), partial(get_palette, "ade20k")
cityscapes_classes, cityscapes_palette = partial(get_classes, "cityscapes"), partial(get_palette, "cityscapes")
voc_classes, voc_palette = partial(get_classes, "pascal_voc"), partial(get_palette, "pascal_voc")
