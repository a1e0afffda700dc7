"""A segmentor of a few thousand parameters, and samples for it."""

import torch
from mmengine.structures import PixelData

from gcseg.registry import MODELS
from gcseg.structures import SegDataSample

CLASSES = 5


def config(align_corners=False, binary=False, auxiliary="one", **options):
    norm = dict(type="BN")
    head = dict(norm_cfg=norm, align_corners=align_corners, num_classes=2 if binary else CLASSES, dropout_ratio=0)
    if binary:
        head.update(out_channels=1, threshold=0.4, loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=True))
    fcn = dict(type="FCNHead", in_channels=16, in_index=2, channels=4, num_convs=1, concat_input=False, **head)
    return dict(
        dict(
            type="EncoderDecoder",
            data_preprocessor=dict(
                type="SegDataPreProcessor", mean=[120.0] * 3, std=[60.0] * 3, bgr_to_rgb=True, seg_pad_val=255
            ),
            backbone=dict(
                type="ResNetV1c",
                depth=18,
                base_channels=4,
                stem_channels=4,
                dilations=(1, 1, 2, 4),
                strides=(1, 2, 1, 1),
                contract_dilation=True,
                norm_cfg=norm,
            ),
            decode_head=dict(type="GCHead", in_channels=32, in_index=3, channels=16, **head),
            auxiliary_head={"one": fcn, "two": [fcn, dict(fcn, in_index=1, in_channels=8)], "none": None}[auxiliary],
            test_cfg=dict(mode="whole"),
        ),
        **options,
    )


def build(seed=0, **options):
    """Random weights everywhere: default ones leave residual branches at zero."""
    model = MODELS.build(config(**options))
    g = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.data = torch.randn(p.shape, generator=g) * (0.3 if p.ndim > 1 else 0.2) + (0 if p.ndim > 1 else 0.5)
    model.eval()
    with torch.no_grad():  # logits of size 1 keep softmax and sigmoid away from their ends
        spread = model(torch.randn(1, 3, 32, 32, generator=g)).std()
    model.decode_head.conv_seg.weight.data /= spread
    model.decode_head.conv_seg.bias.data.zero_()
    return model


def image(height, width, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=g)


def sample(height, width, ori_shape=None, label=True, **meta):
    result = SegDataSample(metainfo=dict(img_shape=(height, width), ori_shape=ori_shape or (height, width), **meta))
    if label:
        g = torch.Generator().manual_seed(height)
        result.gt_sem_seg = PixelData(data=torch.randint(0, 2, (1, height, width), generator=g))
    return result
