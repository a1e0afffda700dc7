"""Containers that carry one image's labels, predictions and meta information between the parts.

The samplers of hard pixels stand here because mmsegmentation keeps them in its ``structures``.
"""

from gcseg.utils.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        ".seg_data_sample": ("SegDataSample",),
        "gcseg.models.losses": ("BasePixelSampler", "OHEMPixelSampler", "build_pixel_sampler"),
    },
)
