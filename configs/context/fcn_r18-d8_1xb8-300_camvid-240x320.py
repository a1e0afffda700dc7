"""FCNHead: no context."""

_base_ = "../camvid/gcnet_r18-d8_1xb8-1k_camvid-240x320.py"
model = dict(
    decode_head=dict(
        _delete_=True,
        type="FCNHead",
        in_index=3,
        in_channels=512,
        channels=128,
        num_classes=11,
        norm_cfg=_base_.norm_cfg,
    ),
)
train_cfg = dict(max_iters=300, val_interval=300)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=50, by_epoch=False),
    dict(type="PolyLR", power=0.9, eta_min=1e-4, begin=50, end=300, by_epoch=False),
]
default_hooks = dict(checkpoint=dict(interval=300, max_keep_ckpts=1))
