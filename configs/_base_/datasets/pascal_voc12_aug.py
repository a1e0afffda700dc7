"""Pascal VOC 2012 train + the SBD annotations: two lists over one folder of images, 10582 in all."""

_base_ = "./pascal_voc12.py"

# Small photographs are padded to the crop before they are packed.
train_pipeline = [*_base_.train_pipeline[:-1], dict(type="Pad", size=_base_.crop_size), _base_.train_pipeline[-1]]
dataset_train = dict(_base_.train_dataloader.dataset, pipeline=train_pipeline)
dataset_aug = dict(
    type=_base_.dataset_type,
    data_root=_base_.data_root,
    data_prefix=dict(img_path="JPEGImages", seg_map_path="SegmentationClassAug"),
    ann_file="ImageSets/Segmentation/aug.txt",
    pipeline=train_pipeline,
)
train_dataloader = dict(dataset=dict(_delete_=True, type="ConcatDataset", datasets=[dataset_train, dataset_aug]))
