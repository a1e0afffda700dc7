"""GCNet on ResNet-18 v1c, CamVid from random weights: 1000 iterations of 8 crops, for one CPU or one small GPU."""

_base_ = [
    "../_base_/models/gcnet_r50-d8.py",
    "../_base_/datasets/camvid.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/schedule_20k.py",
]
norm_cfg = dict(type="BN", requires_grad=True)
crop_size = (240, 320)
model = dict(
    data_preprocessor=dict(size=crop_size),
    pretrained=None,
    backbone=dict(depth=18, norm_cfg=norm_cfg),
    decode_head=dict(in_channels=512, channels=128, num_classes=11, norm_cfg=norm_cfg),
    auxiliary_head=dict(in_channels=256, channels=64, num_classes=11, norm_cfg=norm_cfg),
)
optimizer = dict(lr=0.02)
optim_wrapper = dict(optimizer=optimizer)
train_cfg = dict(max_iters=1000, val_interval=200)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=50, by_epoch=False),
    dict(type="PolyLR", power=0.9, eta_min=1e-4, begin=50, end=1000, by_epoch=False),
]
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(interval=200, save_best="mIoU", max_keep_ckpts=2),
)
randomness = dict(seed=0)
