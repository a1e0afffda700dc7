"""Segmentors: EncoderDecoder, its inference functions, and test-time augmentation; importing it registers them."""

from gcseg.models.segmentors.base import BaseSegmentor
from gcseg.models.segmentors.encoder_decoder import EncoderDecoder
from gcseg.models.segmentors.inference import InferenceOptions, slide_inference, whole_inference, window_starts
from gcseg.models.segmentors.seg_tta import SegTTAModel

__all__ = [
    "BaseSegmentor",
    "EncoderDecoder",
    "InferenceOptions",
    "SegTTAModel",
    "slide_inference",
    "whole_inference",
    "window_starts",
]
