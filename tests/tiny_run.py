"""A data set of random pictures, a GCNet of a few channels, and a config file that joins them."""

from __future__ import annotations

import numpy as np
from PIL import Image

CONFIG = """
custom_imports = dict(imports=[], allow_failed_imports=False)
default_scope = "mmseg"
crop_size = (32, 32)
norm_cfg = dict(type="SyncBN", requires_grad=True)
model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(type="SegDataPreProcessor", mean=[120.0] * 3, std=[60.0] * 3, bgr_to_rgb=True,
                           pad_val=0, seg_pad_val=255, size=crop_size),
    backbone=dict(type="ResNetV1c", depth=18, stem_channels=4, base_channels=4, strides=(1, 2, 1, 1),
                  dilations=(1, 1, 2, 4), contract_dilation=True, norm_cfg=norm_cfg),
    decode_head=dict(type="GCHead", in_index=3, in_channels=32, channels=8, num_classes=3, norm_cfg=norm_cfg,
                     loss_decode=dict(type="CrossEntropyLoss", loss_weight=1.0)),
    auxiliary_head=dict(type="FCNHead", in_index=2, in_channels=16, channels=4, num_convs=1, concat_input=False,
                        num_classes=3, norm_cfg=norm_cfg, loss_decode=dict(type="CrossEntropyLoss", loss_weight=0.4)),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
classes = dict(classes=("left", "right", "odd"), palette=[[255, 0, 0], [0, 255, 0], [0, 0, 255]])
load = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations")]
test_pipeline = [load[0], dict(type="Resize", scale=(40, 32), keep_ratio=True), load[1], dict(type="PackSegInputs")]
tta_pipeline = [
    load[0],
    dict(type="TestTimeAug", transforms=[
        [dict(type="Resize", scale_factor=r, keep_ratio=True) for r in (0.5, 1.0)],
        [dict(type="RandomFlip", prob=0.0), dict(type="RandomFlip", prob=1.0)],
        [load[1]],
        [dict(type="PackSegInputs")],
    ]),
]
tta_model = dict(type="SegTTAModel")
data = dict(type="BaseSegDataset", data_root="{root}", metainfo=classes,
            data_prefix=dict(img_path="img", seg_map_path="ann"))
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=True, sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(pipeline=[*load, dict(type="RandomCrop", crop_size=crop_size), dict(type="RandomFlip", prob=0.5),
                           dict(type="PackSegInputs")], **data))
val_dataloader = dict(batch_size=1, num_workers=0, sampler=dict(type="DefaultSampler", shuffle=False),
                      dataset=dict(pipeline=test_pipeline, **data))
test_dataloader = val_dataloader
val_evaluator = dict(type="IoUMetric", iou_metrics=["mIoU"])
test_evaluator = val_evaluator
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.05, momentum=0.9), clip_grad=None)
param_scheduler = [dict(type="PolyLR", power=0.9, eta_min=1e-4, begin=0, end=4, by_epoch=False)]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=4, val_interval=2)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=1, log_metric_by_epoch=False),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=2, save_best="mIoU", rule="greater"),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    visualization=dict(type="SegVisualizationHook"),
)
env_cfg = dict(cudnn_benchmark=True, mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
               dist_cfg=dict(backend="nccl"))
visualizer = dict(type="SegLocalVisualizer", name="visualizer",
                  vis_backends=[dict(type="LocalVisBackend"), dict(type="TensorboardVisBackend")])
log_processor = dict(by_epoch=False)
log_level = "INFO"
load_from = None
resume = False
randomness = dict(seed=1)
"""


def write(folder):
    """Six pictures of 48 x 40 with labels, and the config; returns the config's path."""
    generator = np.random.default_rng(0)
    for kind in ("img", "ann"):
        (folder / kind).mkdir(parents=True)
    for i in range(6):
        label = np.zeros((40, 48), np.uint8)
        label[:, 24:] = 1
        label[10:20, 5:40] = 2
        label[:2] = 255
        picture = generator.integers(0, 80, (40, 48, 3)) + 60 * label.clip(max=2)[..., None]
        Image.fromarray(picture.astype(np.uint8)).save(folder / "img" / f"p{i}.jpg")
        Image.fromarray(label).save(folder / "ann" / f"p{i}.png")
    config = folder / "tiny.py"
    config.write_text(CONFIG.replace("{root}", str(folder)))
    return config
