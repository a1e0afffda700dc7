"""The published recipe on one small GPU: 2 images at a time, 4 times per step of the optimizer.

An iteration is 2 images here, so that everything that counts iterations is four times as large. Batch normalisation
sees 2 images at a time instead of 8.
"""

_base_ = "../gcnet/gcnet_r50-d8_4xb2-40k_cityscapes-512x1024.py"
optim_wrapper = dict(type="AmpOptimWrapper", accumulative_counts=4)
param_scheduler = [dict(type="PolyLR", power=0.9, eta_min=1e-4, begin=0, end=160000, by_epoch=False)]
train_cfg = dict(max_iters=160000, val_interval=16000)
default_hooks = dict(checkpoint=dict(interval=16000))
auto_scale_lr = dict(base_batch_size=8)
