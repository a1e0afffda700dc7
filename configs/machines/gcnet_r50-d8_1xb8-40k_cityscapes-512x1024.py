"""The published recipe on one large GPU: the same 8 images in every step, so the same learning rate and schedule.

In mixed precision: bfloat16, or float16 on GPUs without it, such as V100.
"""

_base_ = "../gcnet/gcnet_r50-d8_4xb2-40k_cityscapes-512x1024.py"
train_dataloader = dict(batch_size=8, num_workers=8)
optim_wrapper = dict(type="AmpOptimWrapper")
