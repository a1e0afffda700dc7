"""The published recipe on eight GPUs: one image on each, the same 8 in every step."""

_base_ = "../gcnet/gcnet_r50-d8_4xb2-40k_cityscapes-512x1024.py"
train_dataloader = dict(batch_size=1)
