"""Prediction of one photograph at once: GCNet R50-D8, 512x1024, from the uint8 image to the class of every pixel.

python benchmarks/whole_inference.py [--quick]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness import materials, sides
from harness.command import main
from harness.contest import Arena, Comparison, Contestant, Row
from harness.work import Work

# How far scores may be apart, relative to their size, and for which share of the pixels another class may win. The
# classes of a network that was never trained lie close together: the peer itself in bfloat16 is this far from itself.
FLOAT32 = {"scores": 1e-4, "classes": 1e-3}
BFLOAT16 = {"scores": 0.1, "classes": 0.1}

CONTESTANTS = (
    Contestant("peer", "peer", {"setting": "published"}),
    Contestant("gcseg", "gcseg", {"setting": "published"}, FLOAT32),
    Contestant("gcseg --amp", "gcseg", {"setting": "amp"}, BFLOAT16),
)
COMPILED = Contestant("gcseg --amp --compile", "gcseg", {"setting": "compiled"}, BFLOAT16)
TUNED = Contestant("peer tuned", "peer", {"setting": "tuned"}, BFLOAT16)


class Inference(Work):
    """``test_step`` of one image.

    Args:
        side: ``"gcseg"`` or ``"peer"``.
        setting: one of ``sides.SETTINGS``.
        recipe: name of the recipe.
        weights: file of the weights.
        shape: (H, W) of the image.
        options: overrides of the recipe.
        warm_up_shape: (H, W) of a smaller image to warm up with.
    """

    def __init__(
        self,
        side: str,
        setting: str,
        recipe: str,
        weights: str,
        shape: Sequence[int],
        options: dict[str, Any] | None = None,
        warm_up_shape: Sequence[int] | None = None,
    ) -> None:
        self.side, self.setting = side, setting
        self.model = sides.testing_model(side, setting, recipe, weights, options)
        self.image = photograph(shape)
        self.warm_up_image = photograph(warm_up_shape or shape)
        self.result: Any = None

    def before(self, image: Any = None) -> None:
        image = self.image if image is None else image
        self.result = None
        self.data = {"inputs": [image], "data_samples": sides.samples(self.side, None, tuple(image.shape[-2:]))}

    def run(self) -> None:
        import torch

        with torch.no_grad(), sides.testing_context(self.setting):
            self.result = self.model.test_step(self.data)[0]

    def warm_up(self) -> None:
        self.before(self.warm_up_image)
        self.run()
        sides.check_compiled(self.model)

    def answer(self) -> dict[str, Any]:
        return {
            "scores": self.result.seg_logits.data.float().numpy(),
            "classes": self.result.pred_sem_seg.data.numpy().astype("uint8").reshape(self.image.shape[-2:]),
        }


def photograph(shape: Sequence[int]) -> Any:
    """Smooth colours and noise, (3, H, W) uint8, the same on both sides."""
    import torch
    import torch.nn.functional as F

    generator = torch.Generator().manual_seed(materials.SEED)
    height, width = shape
    coarse = torch.rand(1, 3, max(height // 32, 2), max(width // 32, 2), generator=generator) * 255
    smooth = F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)[0]
    return (smooth + torch.randn(3, height, width, generator=generator) * 5).clamp(0, 255).to(torch.uint8)


def rows(arena: Arena, quick: bool) -> list[Row]:
    weights = str(arena.folder / "cityscapes.pth")
    shape = (64, 128) if quick else (512, 1024)
    options = {"recipe": sides.CITYSCAPES, "weights": weights, "shape": shape}
    return [
        Row(
            key="whole_inference",
            title=f"whole inference, R50-D8, {shape[0]}x{shape[1]}",
            script="whole_inference.py",
            work="whole_inference:Inference",
            options=options,
            contestants=(*CONTESTANTS, COMPILED, TUNED),
            comparisons=(
                Comparison("as published", "peer", "gcseg", aim=1.4),
                Comparison("--amp", "peer", "gcseg --amp", aim=7),
                Comparison("--amp, the peer tuned", "peer tuned", "gcseg --amp", aim=1.5),
                Comparison("--amp --compile", "peer", "gcseg --amp --compile"),
            ),
            repetitions=2 if quick else 7,
            materials=[("harness.materials:weights", {"file": weights, "recipe": sides.CITYSCAPES, "options": {}})],
        )
    ]


if __name__ == "__main__":
    main(rows, __doc__)
