"""SEHead, no block in the backbone."""

_base_ = "./fcn_r18-d8_1xb8-300_camvid-240x320.py"
model = dict(decode_head=dict(type="SEHead"))
