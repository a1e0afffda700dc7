"""What the writer of the golden files and the tests that read them have in common: inputs, weights, cases.

Inputs and weights are not stored; they come from the raw PCG64 stream, whose values numpy guarantees. What is stored is
what the oracle answered.
"""

from __future__ import annotations

import math
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

HERE = Path(__file__).parent
NUM_CLASSES = 4


def uniform(shape: tuple[int, ...], seed: int, low: float = -1.0, high: float = 1.0) -> np.ndarray:
    """Uniform float64 of ``shape``, the same in every numpy."""
    raw = np.random.PCG64(seed).random_raw(max(math.prod(shape), 1))
    unit = (np.asarray(raw, dtype=np.uint64) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return (low + (high - low) * unit[: math.prod(shape)]).reshape(shape)


def labels(shape: tuple[int, ...], seed: int, num_classes: int = NUM_CLASSES, ignored: float = 0.15) -> np.ndarray:
    """Random class indices, int64, a share of them 255."""
    out = np.floor(uniform(shape, seed, 0, num_classes)).astype(np.int64)
    out[uniform(shape, seed + 1, 0, 1) < ignored] = 255
    return out


def values_for(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A value of its own for every entry of a state dict, decided by the name."""
    seed = zlib.crc32(name.encode())
    if name.endswith("running_var") or (len(shape) <= 1 and name.endswith("weight")):
        return uniform(shape, seed, 0.5, 1.5)
    if len(shape) <= 1 or name.endswith(("bias", "running_mean")):
        return uniform(shape, seed, -0.5, 0.5)
    bound = math.sqrt(6.0 / math.prod(shape[1:]))
    return uniform(shape, seed, -bound, bound)


def set_weights(model: nn.Module) -> nn.Module:
    """Fill parameters and running statistics of ``model`` in place, leaving counters alone."""
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.as_tensor(values_for(name, tuple(value.shape))))
    return model


@contextmanager
def full_double():
    """Let the oracle's losses count in float64 throughout.

    They convert targets with ``.float()``, so that a float64 loss is good to 1e-8 only (or fails, as Lovasz does).
    """
    as_float = torch.Tensor.float
    torch.Tensor.float = torch.Tensor.double
    try:
        yield
    finally:
        torch.Tensor.float = as_float


def digest(name: str, value: Tensor) -> np.ndarray:
    """Norm of a tensor and its product with a fixed direction: (2,) float64."""
    array = value.detach().double().numpy()
    return np.array([np.linalg.norm(array), (array * uniform(array.shape, zlib.crc32(name.encode()) + 7)).sum()])


BN = dict(type="BN", requires_grad=True)
LOSS = dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0)
AUX_LOSS = dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=0.4)


def model_config(head: dict, depth: int = 18, stages: int = 4, width: int = 4, align_corners: bool = False, **backbone):
    """Config of a small D8 EncoderDecoder with an auxiliary FCNHead; ``backbone`` changes the backbone."""
    expansion = 4 if depth >= 50 else 1
    top = width * expansion * 2 ** (stages - 1)
    return dict(
        type="EncoderDecoder",
        backbone={
            **dict(
                type="ResNetV1c",
                depth=depth,
                stem_channels=width,
                base_channels=width,
                num_stages=stages,
                out_indices=tuple(range(stages)),
                dilations=(1, 1, 2, 4)[:stages],
                strides=(1, 2, 1, 1)[:stages],
                norm_cfg=BN,
                norm_eval=False,
                style="pytorch",
                contract_dilation=True,
            ),
            **backbone,
        },
        decode_head={
            **dict(
                type="GCHead",
                in_channels=top,
                in_index=stages - 1,
                channels=8,
                dropout_ratio=0,
                num_classes=NUM_CLASSES,
                norm_cfg=BN,
                align_corners=align_corners,
                loss_decode=LOSS,
            ),
            **head,
        },
        auxiliary_head=dict(
            type="FCNHead",
            in_channels=top // 2 if stages > 1 else top,
            in_index=max(stages - 2, 0),
            channels=4,
            num_convs=1,
            concat_input=False,
            dropout_ratio=0,
            num_classes=NUM_CLASSES,
            norm_cfg=BN,
            align_corners=align_corners,
            loss_decode=AUX_LOSS,
        ),
        train_cfg=dict(),
        test_cfg=dict(mode="whole"),
    )


def _plugin(kind: str, position: str, **kwargs) -> list[dict]:
    return [dict(cfg=dict(type=kind, **kwargs), stages=(False, True, True, True), position=position)]


MODELS = {
    "gc_r18": model_config(dict(type="GCHead")),
    "gc_r18_mul_avg": model_config(
        dict(type="GCHead", pooling_type="avg", fusion_types=("channel_mul", "channel_add"), concat_input=False),
        align_corners=True,
    ),
    "gc_r50": model_config(dict(type="GCHead", ratio=1 / 2), depth=50),
    "gc_r50_plugin": model_config(
        dict(type="FCNHead", num_convs=2),
        depth=50,
        type="ResNetV1d",
        plugins=_plugin("ContextBlock", "after_conv3", ratio=1 / 4),
    ),
    "nl_r18": model_config(dict(type="NLHead", reduction=2, mode="embedded_gaussian")),
    "nl_r18_dot": model_config(dict(type="NLHead", reduction=1, mode="dot_product"), type="ResNet"),
    "dnl_r18": model_config(dict(type="DNLHead", reduction=2, mode="embedded_gaussian")),
}
IMAGE = (2, 3, 33, 41)

CLASS_WEIGHT = [0.5, 1.0, 2.0, 0.25]
# name -> (config, whether labels hold 255). FocalLoss and LovaszLoss read index labels in gcseg only; see differences.
LOSSES = {
    "ce": (dict(type="CrossEntropyLoss"), True),
    "ce_avg_non_ignore": (dict(type="CrossEntropyLoss", avg_non_ignore=True, loss_weight=0.4), True),
    "ce_sum": (dict(type="CrossEntropyLoss", reduction="sum"), True),
    "ce_none": (dict(type="CrossEntropyLoss", reduction="none"), True),
    "ce_class_weight": (dict(type="CrossEntropyLoss", class_weight=CLASS_WEIGHT), False),
    "ce_class_weight_sum": (dict(type="CrossEntropyLoss", class_weight=CLASS_WEIGHT, reduction="sum"), True),
    "bce": (dict(type="CrossEntropyLoss", use_sigmoid=True), True),
    "bce_avg_non_ignore": (dict(type="CrossEntropyLoss", use_sigmoid=True, avg_non_ignore=True), True),
    "dice_sigmoid": (dict(type="DiceLoss"), False),
    "dice_softmax": (dict(type="DiceLoss", use_sigmoid=False), False),
    "dice_naive": (dict(type="DiceLoss", use_sigmoid=False, naive_dice=True, eps=1e-2), False),
    "dice_no_activation": (dict(type="DiceLoss", activate=False, loss_weight=3.0), False),
    "tversky": (dict(type="TverskyLoss"), True),
    "tversky_class_weight": (dict(type="TverskyLoss", alpha=0.5, beta=0.5, smooth=2, class_weight=CLASS_WEIGHT), True),
    "lovasz": (dict(type="LovaszLoss", reduction="none"), True),
    "lovasz_per_image": (dict(type="LovaszLoss", per_image=True, classes="all"), True),
    "lovasz_class_weight": (dict(type="LovaszLoss", reduction="none", class_weight=CLASS_WEIGHT), True),
}
LOGITS = (2, NUM_CLASSES, 7, 9)

SAMPLERS = {
    "ohem_threshold": dict(type="OHEMPixelSampler", thresh=0.3, min_kept=20),
    "ohem_top": dict(type="OHEMPixelSampler", min_kept=20),
}

METRICS = {
    "miou": dict(iou_metrics=["mIoU"]),
    "dice": dict(iou_metrics=["mDice"]),
    "fscore": dict(iou_metrics=["mFscore"], beta=2),
    "all": dict(iou_metrics=["mIoU", "mDice", "mFscore"]),
    "nan_to_num": dict(iou_metrics=["mIoU", "mFscore"], nan_to_num=0),
}


def metric_maps(absent_class: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """Predictions and labels of three images; with ``absent_class`` class 3 is nowhere."""
    top = NUM_CLASSES - 1 if absent_class else NUM_CLASSES
    pairs = []
    for index, shape in enumerate([(13, 17), (1, 1), (20, 9)]):
        label = labels(shape, 50 + index, top)
        guess = np.floor(uniform(shape, 90 + index, 0, top)).astype(np.int64)
        right = uniform(shape, 70 + index, 0, 1) < 0.6
        pairs.append((np.where(right & (label != 255), label, guess), label))
    return pairs


# The checkpoints hold this model; one stage keeps the files small.
CHECKPOINT_MODEL = model_config(dict(type="GCHead", channels=4), stages=1, width=4)
CHECKPOINT_META = dict(
    classes=("road", "wall", "sky", "car"), palette=[[128, 64, 128], [102, 102, 156], [70, 130, 180], [0, 0, 142]]
)
SLIDE = dict(mode="slide", crop_size=(24, 20), stride=(15, 13))
PREDICT_IMAGE = (1, 3, 37, 45)
ORI_SHAPE = (31, 50)
RATIOS = (0.75, 1.0, 1.25)


def tta_views() -> list[tuple[np.ndarray, dict]]:
    """Images (3, h, w) float64 of the ratios x flip and the meta information they carry."""
    views = []
    for ratio in RATIOS:
        height, width = round(PREDICT_IMAGE[2] * ratio), round(PREDICT_IMAGE[3] * ratio)
        image = uniform((3, height, width), 400 + height, -2, 2)
        for flip in (False, True):
            meta = dict(
                ori_shape=ORI_SHAPE, img_shape=(height, width), pad_shape=(height, width), padding_size=[0, 0, 0, 0],
                flip=flip, flip_direction="horizontal" if flip else None, img_path="made.png",
            )  # fmt: skip
            views.append((image[:, :, ::-1].copy() if flip else image, meta))
    return views
