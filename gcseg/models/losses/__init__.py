"""Losses for segmentation and the sampler of hard pixels; importing the package registers them."""

from gcseg.models.losses.accuracy import Accuracy, accuracy
from gcseg.models.losses.cross_entropy_loss import (
    CrossEntropyLoss,
    binary_cross_entropy,
    cross_entropy,
    mask_cross_entropy,
)
from gcseg.models.losses.dice_loss import DiceLoss
from gcseg.models.losses.focal_loss import FocalLoss
from gcseg.models.losses.lovasz_loss import LovaszLoss
from gcseg.models.losses.ohem_pixel_sampler import BasePixelSampler, OHEMPixelSampler, build_pixel_sampler
from gcseg.models.losses.tversky_loss import TverskyLoss
from gcseg.models.losses.utils import (
    SegLoss,
    get_class_weight,
    reduce_loss,
    valid_pixels,
    weight_reduce_loss,
    weighted_loss,
)

__all__ = [
    "Accuracy",
    "BasePixelSampler",
    "CrossEntropyLoss",
    "DiceLoss",
    "FocalLoss",
    "LovaszLoss",
    "OHEMPixelSampler",
    "SegLoss",
    "TverskyLoss",
    "accuracy",
    "binary_cross_entropy",
    "build_pixel_sampler",
    "cross_entropy",
    "get_class_weight",
    "mask_cross_entropy",
    "reduce_loss",
    "valid_pixels",
    "weight_reduce_loss",
    "weighted_loss",
]
