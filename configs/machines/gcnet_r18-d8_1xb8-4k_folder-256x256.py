"""Images of your own on a CPU or one small GPU: ResNet-18, 8 crops of 256x256. Copy it, and change the first three.

The folders are those of configs/_base_/datasets/folder.py. --amp makes it faster where the hardware has bfloat16.
"""

_base_ = [
    "{{$GCSEG_CONFIGS:}}/_base_/models/gcnet_r50-d8.py",
    "{{$GCSEG_CONFIGS:}}/_base_/datasets/folder.py",
    "{{$GCSEG_CONFIGS:}}/_base_/schedules/schedule_20k.py",
    "{{$GCSEG_CONFIGS:}}/_base_/default_runtime.py",
]
num_classes = 2  # lines of classes.txt
scale = (640, 480)  # width and height that images are resized to, keeping their ratio
iterations = 4000
crop_size = (256, 256)  # height and width
norm_cfg = dict(type="BN", requires_grad=True)
model = dict(
    data_preprocessor=dict(size=crop_size),
    pretrained="open-mmlab://resnet18_v1c",
    backbone=dict(depth=18, norm_cfg=norm_cfg),
    decode_head=dict(in_channels=512, channels=128, num_classes=num_classes, norm_cfg=norm_cfg),
    auxiliary_head=dict(in_channels=256, channels=64, num_classes=num_classes, norm_cfg=norm_cfg),
)
image, label, pack = dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"), dict(type="PackSegInputs")
varied = [
    dict(type="RandomResize", scale=scale, ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
]
whole = [image, dict(type="Resize", scale=scale, keep_ratio=True), label, pack]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=[image, label, *varied, pack]))
val_dataloader = dict(dataset=dict(pipeline=whole))
test_dataloader = val_dataloader
param_scheduler = [dict(type="PolyLR", power=0.9, eta_min=1e-4, begin=0, end=iterations, by_epoch=False)]
train_cfg = dict(max_iters=iterations, val_interval=iterations // 10)
default_hooks = dict(checkpoint=dict(interval=iterations // 10, save_best="mIoU", max_keep_ckpts=2))
