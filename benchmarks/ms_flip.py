"""Multi-scale and flip prediction: GCNet R50-D8, six scales of a 512x1024 photograph, each with its mirror image.

The twelve views are made beforehand by each side's own ``tta_pipeline``; what is timed is the model.

python benchmarks/ms_flip.py [--quick]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import sides
from harness.command import main
from harness.contest import Arena, Comparison, Contestant, Row
from harness.work import Work


class MultiScaleFlip(Work):
    """``test_step`` of the test-time augmentation model.

    Args:
        side: ``"gcseg"`` or ``"peer"``.
        setting: one of ``sides.SETTINGS``.
        weights: file of the weights.
        folder: of :func:`harness.materials.city`.
        scales: factors on the photograph's size.
    """

    def __init__(self, side: str, setting: str, weights: str, folder: str, scales: Sequence[float]) -> None:
        self.side, self.setting = side, setting
        self.model = sides.testing_model(side, setting, sides.CITYSCAPES, weights, tta=True)
        self.views = _views(side, Path(folder), scales)
        self.result: Any = None

    def before(self) -> None:
        self.result = None
        self.data = sides.fresh(self.views)

    def run(self) -> None:
        import torch

        with torch.no_grad(), sides.testing_context(self.setting):
            self.result = self.model.test_step(self.data)[0]

    def warm_up(self) -> None:
        import torch

        with torch.no_grad(), sides.testing_context(self.setting):
            self.model.test_step(sides.fresh({key: views[:2] for key, views in self.views.items()}))

    def answer(self) -> dict[str, Any]:
        return {"classes": self.result.pred_sem_seg.data.numpy().astype("uint8").squeeze()}


def _views(side: str, folder: Path, scales: Sequence[float]) -> dict[str, Any]:
    """A collated batch: per key a list over views, of lists over images."""
    from mmengine.dataset import Compose, pseudo_collate

    if side == "gcseg":
        from gcseg.registry import TRANSFORMS
    else:
        from mmseg.registry import TRANSFORMS
        from mmseg.utils import register_all_modules

        register_all_modules()
    pipeline = sides.recipe(side, sides.CITYSCAPES).tta_pipeline
    ratios = pipeline[-1].transforms[0]
    for_scale = ratios[0]
    pipeline[-1].transforms[0] = [{**for_scale, "scale_factor": scale} for scale in scales]
    image = next(folder.rglob("*_leftImg8bit.png"))
    label = next(folder.rglob("*_labelTrainIds.png"))
    item = {"img_path": str(image), "seg_map_path": str(label), "seg_fields": [], "label_map": None}
    item.update(reduce_zero_label=False, ignore_index=255, void_labels=(), num_classes=19)
    return pseudo_collate([Compose([TRANSFORMS.build(step) for step in pipeline])(item)])


def rows(arena: Arena, quick: bool) -> list[Row]:
    weights, folder = str(arena.folder / "cityscapes.pth"), str(arena.folder / "photograph")
    shape = (64, 128) if quick else (512, 1024)
    scales = (0.5, 1.0) if quick else (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
    return [
        Row(
            key="ms_flip",
            title=f"ms+flip ({len(scales)} scales, flip), R50-D8, {shape[0]}x{shape[1]}",
            script="ms_flip.py",
            work="ms_flip:MultiScaleFlip",
            options={"weights": weights, "folder": folder, "scales": scales},
            contestants=(
                Contestant("peer", "peer", {"setting": "published"}),
                Contestant("gcseg", "gcseg", {"setting": "published"}, {"classes": 1e-3}),
                Contestant("gcseg --amp", "gcseg", {"setting": "amp"}, {"classes": 0.1}),
            ),
            comparisons=(
                Comparison("as published", "peer", "gcseg", aim=1.4),
                Comparison("--amp", "peer", "gcseg --amp", aim=6),
            ),
            repetitions=2,
            materials=[
                ("harness.materials:weights", {"file": weights, "recipe": sides.CITYSCAPES, "options": {}}),
                ("harness.materials:city", {"folder": folder, "count": 1, "shape": shape}),
            ],
        )
    ]


if __name__ == "__main__":
    main(rows, __doc__)
