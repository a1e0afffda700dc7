"""SNL before the last block of c4, after the addition."""

_base_ = "./fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py"
model = dict(
    backbone=dict(
        plugins=[
            dict(
                cfg=dict(type="SimplifiedNonLocal"),
                stages=(False, False, True, False),
                blocks=(-2,),
                position="after_add",
            ),
        ],
    ),
)
