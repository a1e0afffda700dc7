"""NLHead, no block in the backbone."""

_base_ = "../demo/gcnet_r18-d8_1xb8-1200_demo-128x128.py"
model = dict(
    decode_head=dict(
        _delete_=True,
        type="NLHead",
        in_index=3,
        in_channels=192,
        channels=64,
        num_classes=9,
        norm_cfg=_base_.norm_cfg,
    ),
)
