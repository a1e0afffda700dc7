"""Containers that carry one image's labels, predictions and meta information between the parts."""

from gcseg.structures.seg_data_sample import SegDataSample

__all__ = ["SegDataSample"]
