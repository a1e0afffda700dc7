_base_ = [
    "../_base_/models/gcnet_r50-d8.py",
    "../_base_/datasets/cityscapes_769x769.py",
    "../_base_/schedules/schedule_80k.py",
    "../_base_/default_runtime.py",
]

data_preprocessor = dict(size=_base_.crop_size)
model = dict(
    data_preprocessor=data_preprocessor,
    decode_head=dict(align_corners=True),
    auxiliary_head=dict(align_corners=True),
    test_cfg=dict(mode="slide", crop_size=_base_.crop_size, stride=(513, 513)),
)
