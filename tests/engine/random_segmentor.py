"""Small segmentors with random weights and random running statistics."""

import torch

from gcseg.registry import MODELS

CLASSES = 5


def build(depth=18, backbone="ResNetV1c", head=None, width=16, norm="BN", seed=0, **changes):
    """``changes`` go to the backbone. Strided 1x1 convolutions have 16 channels at least: see lay_out_channels_last."""
    norm_cfg = dict(type=norm, **(dict(num_groups=2) if norm == "GN" else {}))
    channels = width * (4 if depth >= 50 else 1)
    options = dict(norm_cfg=norm_cfg, num_classes=CLASSES, channels=8)
    stages = dict(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), contract_dilation=True)
    cfg = dict(
        type="EncoderDecoder",
        data_preprocessor=dict(type="SegDataPreProcessor", mean=[120.0] * 3, std=[60.0] * 3, bgr_to_rgb=True),
        backbone={
            **dict(type=backbone, depth=depth, stem_channels=width, base_channels=width, norm_cfg=norm_cfg, **stages),
            **changes,
        },
        decode_head={**dict(type="GCHead", in_channels=channels * 8, in_index=3, **options), **(head or {})},
        auxiliary_head=dict(type="FCNHead", in_channels=channels * 4, in_index=2, num_convs=1, **options),
        test_cfg=dict(mode="whole"),
    )
    model = MODELS.build(cfg)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name.startswith("data_preprocessor") or not tensor.is_floating_point():
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            if tensor.dim() > 1 and tensor.dim() != 3:
                tensor.copy_(noise * (2.0 / tensor[0].numel()) ** 0.5)
            else:
                center = 1 if name.endswith(("weight", "var")) else 0
                tensor.copy_(center + 0.3 * noise.clamp(-2, 2))
    return model.eval()


def images(n=2, height=33, width=47, dtype=torch.float32, seed=1):
    return torch.randn(n, 3, height, width, generator=torch.Generator().manual_seed(seed)).to(dtype)


def error(found, expected):
    """Largest difference over the largest value."""
    return ((found.double() - expected.double()).abs().max() / expected.double().abs().max()).item()
