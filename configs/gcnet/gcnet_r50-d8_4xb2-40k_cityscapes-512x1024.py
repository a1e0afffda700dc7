_base_ = [
    "../_base_/models/gcnet_r50-d8.py",
    "../_base_/datasets/cityscapes.py",
    "../_base_/schedules/schedule_40k.py",
    "../_base_/default_runtime.py",
]

data_preprocessor = dict(size=_base_.crop_size)
model = dict(data_preprocessor=data_preprocessor)
