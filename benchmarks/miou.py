"""What an evaluation adds to a prediction: counting one 1024x2048 map of 19 classes into the metric.

Through mmengine's ``Evaluator``, as in every test run; at the end both must name the same mIoU.

python benchmarks/miou.py [--quick]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness import materials, sides
from harness.command import main
from harness.contest import Arena, Comparison, Contestant, Row
from harness.work import Work
from train_step import block_labels

# The peer rounds percentages to two digits.
ROUNDED = {"aAcc": 1e-4, "mIoU": 1e-4, "mAcc": 1e-4}


class Bookkeeping(Work):
    """The metric's share of an evaluation.

    Args:
        side: ``"gcseg"`` or ``"peer"``.
        shape: (H, W) of a prediction.
        count: predictions in one repetition.
    """

    def __init__(self, side: str, shape: Sequence[int], count: int) -> None:
        import torch
        from mmengine.evaluator import Evaluator
        from mmengine.structures import PixelData

        if side == "gcseg":
            from gcseg.metainfo import CITYSCAPES
            from gcseg.registry import METRICS

            classes = CITYSCAPES["classes"]
        else:
            from mmseg.registry import METRICS
            from mmseg.utils import get_classes, register_all_modules

            register_all_modules()
            classes = get_classes("cityscapes")
        self.items = count
        self.evaluator = Evaluator([METRICS.build(dict(type="IoUMetric", iou_metrics=["mIoU"]))])
        self.evaluator.dataset_meta = dict(classes=tuple(classes))
        shape = (int(shape[0]), int(shape[1]))
        label = block_labels(shape, 19)
        self.samples = sides.samples(side, [label] * count, shape, count)
        generator = torch.Generator().manual_seed(materials.SEED)
        for sample in self.samples:
            wrong = torch.rand(shape, generator=generator) < 0.2
            prediction = torch.where(wrong | (label == 255), (label + 1) % 19, label)
            sample.pred_sem_seg = PixelData(data=prediction[None])

    def run(self) -> None:
        for sample in self.samples:
            self.evaluator.process(data_samples=[sample], data_batch=None)

    def answer(self) -> dict[str, Any]:
        import numpy as np

        metrics = self.evaluator.evaluate(self.items)
        return {name: np.array(metrics[name], dtype=np.float64) for name in ("aAcc", "mIoU", "mAcc")}


def rows(arena: Arena, quick: bool) -> list[Row]:
    shape = (64, 128) if quick else (1024, 2048)
    return [
        Row(
            key="miou",
            title=f"mIoU bookkeeping of one {shape[0]}x{shape[1]} prediction",
            script="miou.py",
            work="miou:Bookkeeping",
            options={"shape": shape, "count": 10},
            contestants=(
                Contestant("peer", "peer"),
                Contestant("gcseg", "gcseg", {}, ROUNDED),
            ),
            comparisons=(Comparison("as published", "peer", "gcseg", aim=8),),
            repetitions=3 if quick else 15,
            show_memory=False,
        )
    ]


if __name__ == "__main__":
    main(rows, __doc__)
