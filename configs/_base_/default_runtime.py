"""Everything that is neither model, data nor schedule."""

default_scope = "gcseg"
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
log_level = "INFO"
log_processor = dict(by_epoch=False)
vis_backends = [dict(type="LocalVisBackend"), dict(type="TensorboardVisBackend")]
visualizer = dict(type="SegLocalVisualizer", name="visualizer", vis_backends=vis_backends)
tta_model = dict(type="SegTTAModel")
load_from = None
resume = False
