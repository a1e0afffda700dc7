"""FCNHead: no context."""

_base_ = "../gcnet/gcnet_r50-d8_4xb2-40k_cityscapes-512x1024.py"
model = dict(
    decode_head=dict(
        _delete_=True,
        type="FCNHead",
        in_index=3,
        in_channels=2048,
        channels=512,
        num_classes=19,
        norm_cfg=_base_.norm_cfg,
    ),
)
