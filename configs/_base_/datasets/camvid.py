"""CamVid in the 11-class, 480x360 version: images/{train,val}/*.jpg and annotations/{train,val}/*.png.

Say where it lies with the environment variable GCSEG_CAMVID, or with --cfg-options for the three data sets.
"""

_base_ = "./_evaluation.py"

dataset_type = "CamVidDataset"
data_root = "{{$GCSEG_CAMVID:data/camvid}}"
# Label 11 in the files means "unlabelled"; loading turns it into ignore_index (255). Only this line says so.
void_labels = [11]
crop_size = (240, 320)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="RandomResize", scale=(480, 360), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(480, 360), keep_ratio=True),
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path="images/train", seg_map_path="annotations/train"),
        void_labels=void_labels,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path="images/val", seg_map_path="annotations/val"),
        void_labels=void_labels,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
