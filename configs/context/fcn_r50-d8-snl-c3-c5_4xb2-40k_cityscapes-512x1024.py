"""SNL in every block of c3 to c5, after convolution 3."""

_base_ = "./fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py"
model = dict(
    backbone=dict(
        plugins=[
            dict(
                cfg=dict(type="SimplifiedNonLocal"),
                stages=(False, True, True, True),
                position="after_conv3",
            ),
        ],
    ),
)
