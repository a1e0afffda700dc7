"""Transforms under mmsegmentation's names; each is imported when somebody asks for it.

Transforms that are not listed here (``CenterCrop``, ``RandomApply`` and others) are mmcv's own
and are found through the registry.
"""

from gcseg.utils.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        ".loading": ("LoadAnnotations", "LoadImageFromFile", "LoadImageFromNDArray"),
        ".geometric": ("Pad", "RandomCrop", "RandomFlip", "RandomResize", "Resize"),
        ".photometric": ("PhotoMetricDistortion",),
        ".formatting": ("PackSegInputs",),
        ".test_time": ("TestTimeAug",),
        ".geometric_extra": (
            "RandomChoiceResize",
            "RandomRotate",
            "ResizeShortestEdge",
            "ResizeToMultiple",
            "SegRescale",
        ),
        ".color_extra": ("AdjustGamma", "CLAHE", "RGB2Gray", "Rerange"),
        ".mix_extra": ("GenerateEdge", "RandomCutOut", "RandomMosaic"),
        ".albu_extra": ("Albu",),
    },
)
