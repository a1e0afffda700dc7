"""From the coarse logits to the loss: resize, cross-entropy, accuracy, and the gradient of the logits.

Through ``loss_by_feat`` of a decode head of each side, as in every training step: 150 classes, 2x64x64 to 512x512; and
19 classes, 2x64x128 to 512x1024.

python benchmarks/upsample_loss.py [--quick]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness import materials, sides
from harness.command import main
from harness.contest import Arena, Comparison, Contestant, Row
from harness.work import Work
from train_step import block_labels

FLOAT32 = {"loss": 1e-5, "accuracy": 1e-4, "gradient": 1e-5}
BFLOAT16 = {"loss": 1e-2, "accuracy": 5e-2, "gradient": 1e-2}


class Loss(Work):
    """Loss of given logits, and its gradient.

    Args:
        side: ``"gcseg"`` or ``"peer"``.
        num_classes: classes.
        shape: (H, W) of the labels; the logits have an eighth of it.
        dtype: of the logits, as a head under autocast makes them.
    """

    temporaries = True

    def __init__(self, side: str, num_classes: int, shape: Sequence[int], dtype: str = "float32") -> None:
        import torch

        if dtype != "float32":
            sides.need_bfloat16("cpu")
        if side == "gcseg":
            from gcseg.registry import MODELS
        else:
            from mmseg.registry import MODELS
            from mmseg.utils import register_all_modules

            register_all_modules()
        head = dict(type="FCNHead", in_channels=8, channels=8, num_convs=0, concat_input=False, num_classes=num_classes)
        self.head = MODELS.build({**head, "loss_decode": dict(type="CrossEntropyLoss", loss_weight=1.0)})
        generator = torch.Generator().manual_seed(materials.SEED)
        coarse = (2, num_classes, shape[0] // 8, shape[1] // 8)
        self.logits = torch.randn(coarse, generator=generator).mul_(3).to(getattr(torch, dtype)).requires_grad_()
        shape = (int(shape[0]), int(shape[1]))
        self.samples = sides.samples(side, [block_labels(shape, num_classes)] * 2, shape, 2)
        self.autocast = dtype != "float32"

    def before(self) -> None:
        self.losses: dict[str, Any] = {}
        self.logits.grad = None

    def run(self) -> None:
        import torch

        with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
            self.losses = self.head.loss_by_feat(self.logits, self.samples)
        self.losses["loss_ce"].backward()

    def answer(self) -> dict[str, Any]:
        arrays = (self.losses["loss_ce"], self.losses["acc_seg"], self.logits.grad)
        loss, accuracy, gradient = (array.detach().float().numpy() for array in arrays)
        return {"loss": loss.reshape(()), "accuracy": accuracy.reshape(()), "gradient": gradient}


def rows(arena: Arena, quick: bool) -> list[Row]:
    out = []
    for num_classes, shape, aim in ((150, (512, 512), 2.0), (19, (512, 1024), 1.5)):
        if quick:
            shape = (shape[0] // 8, shape[1] // 8)
        sizes = f"{shape[0] // 8}x{shape[1] // 8} to {shape[0]}x{shape[1]}"
        row = Row(
            key=f"upsample_loss_{num_classes}",
            title=f"upsample + cross-entropy, {num_classes} classes, two of {sizes}",
            script="upsample_loss.py",
            work="upsample_loss:Loss",
            options={"num_classes": num_classes, "shape": shape},
            contestants=(
                Contestant("peer", "peer"),
                Contestant("gcseg", "gcseg", {}, FLOAT32),
                Contestant("gcseg --amp", "gcseg", {"dtype": "bfloat16"}, BFLOAT16),
            ),
            comparisons=(
                Comparison("as published", "peer", "gcseg", aim=aim, memory_aim=1 / 8),
                Comparison("--amp", "peer", "gcseg --amp", aim=aim, memory_aim=1 / 8),
            ),
            repetitions=3 if quick else 15,
        )
        out.append(row)
    return out


if __name__ == "__main__":
    main(rows, __doc__)
