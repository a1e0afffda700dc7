"""Your own folder: images/{train,val}/*, labels/{train,val}/* and classes.txt.

Say where it lies with the environment variable GCSEG_FOLDER, or with --cfg-options for the three data sets. Set
num_classes of both heads to the number of lines of classes.txt.
"""

_base_ = "./_evaluation.py"

dataset_type = "FolderDataset"
data_root = "{{$GCSEG_FOLDER:data/folder}}"
# Values in the label files that mean "unlabelled", apart from 255.
void_labels = []
crop_size = (512, 512)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="RandomResize", scale=(2048, 512), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(2048, 512), keep_ratio=True),
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type=dataset_type, data_root=data_root, split="train", void_labels=void_labels, pipeline=train_pipeline
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type=dataset_type, data_root=data_root, split="val", void_labels=void_labels, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
