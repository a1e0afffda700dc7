"""GC, ratio 1/16, attention pooling, addition, in every block of c3 to c5, after the addition."""

_base_ = "./fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py"
model = dict(
    backbone=dict(
        plugins=[
            dict(
                cfg=dict(type="ContextBlock", ratio=1 / 16),
                stages=(False, True, True, True),
                position="after_add",
            ),
        ],
    ),
)
