"""Data sets and their transforms, under mmsegmentation's names; each is imported when somebody asks for it."""

from gcseg.datasets import transforms
from gcseg.utils.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        ".basesegdataset": ("BaseSegDataset",),
        ".cityscapes": ("CityscapesDataset",),
        ".ade": ("ADE20KDataset",),
        ".voc": ("PascalVOCDataset",),
        ".camvid": ("CamVidDataset",),
        ".folder": ("FolderDataset",),
        ".demo": ("DemoDataset",),
        ".dataset_wrappers": ("ClassBalancedDataset", "ConcatDataset", "MultiImageMixDataset", "RepeatDataset"),
        ".transforms": transforms.__all__,
    },
)
