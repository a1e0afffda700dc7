"""One training step: GCNet R50-D8 with auxiliary head, 150 classes, two crops of 256x256, SGD as in the recipe.

From the uint8 images to the updated weights, through ``train_step`` of the model and the optimizer wrapper that each
side's runner builds.

python benchmarks/train_step.py [--quick]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness import materials, sides
from harness.command import main
from harness.contest import Arena, Comparison, Contestant, Row
from harness.work import Work
from whole_inference import photograph

# Relative differences of the first step's loss, and of what that step does to the weights of the last layer. They come
# with the dropout of the recipe, under one seed.
FLOAT32 = {"loss": 1e-4, "step": 1e-2}
BFLOAT16 = {"loss": 2e-2, "step": 0.3}


class Step(Work):
    """``train_step`` of one batch.

    Args:
        side: ``"gcseg"`` or ``"peer"``.
        setting: one of ``sides.SETTINGS``.
        recipe: name of the recipe.
        weights: file of the weights.
        shape: (H, W) of a crop.
        batch: number of crops.
        num_classes: labels are drawn from so many.
        options: overrides of the recipe.
        device: ``"cpu"`` or ``"cuda"``.
        per_image: report the time of one crop and not of the step.
        steps: in one repetition; several let a GPU run ahead of the program, as it does in training.
    """

    def __init__(
        self,
        side: str,
        setting: str,
        recipe: str,
        weights: str,
        shape: Sequence[int],
        batch: int,
        num_classes: int,
        options: dict[str, Any] | None = None,
        device: str = "cpu",
        per_image: bool = False,
        steps: int = 1,
    ) -> None:
        import torch

        self.device = sides.pick_device(device)
        self.steps, self.items = steps, steps * (batch if per_image else 1)
        shape = (int(shape[0]), int(shape[1]))
        runner = sides.training_runner(side, setting, recipe, weights, options, device)
        self.model, self.optim_wrapper = runner.model, runner.optim_wrapper
        label = block_labels(shape, num_classes)
        self.batch = {
            "inputs": [photograph(shape).roll(i, -1) for i in range(batch)],
            "data_samples": sides.samples(side, [label] * batch, shape, batch),
        }
        self.last_layer = self.model.decode_head.conv_seg.weight
        before = self.last_layer.detach().cpu().float().clone()
        torch.manual_seed(materials.SEED)
        self.losses = self.model.train_step(sides.fresh(self.batch), optim_wrapper=self.optim_wrapper)
        sides.check_compiled(self.model)
        after = self.last_layer.detach().cpu().float()
        self.first = {"loss": self.losses["loss"].detach().float().cpu().numpy(), "step": (after - before).numpy()}

    def before(self) -> None:
        self.losses: dict[str, Any] = {}
        self.data = [sides.fresh(self.batch) for _ in range(self.steps)]

    def run(self) -> None:
        for data in self.data:
            self.losses = self.model.train_step(data, optim_wrapper=self.optim_wrapper)

    def answer(self) -> dict[str, Any]:
        return self.first


def block_labels(shape: Sequence[int], num_classes: int) -> Any:
    """Labels (H, W) int64 in blocks of 16 pixels, one in ten of the blocks 255."""
    import torch

    generator = torch.Generator().manual_seed(materials.SEED)
    blocks = (-(-shape[0] // 16), -(-shape[1] // 16))
    label = torch.randint(0, num_classes, blocks, generator=generator)
    label[torch.rand(blocks, generator=generator) < 0.1] = 255
    return label.repeat_interleave(16, 0).repeat_interleave(16, 1)[: shape[0], : shape[1]]


def rows(arena: Arena, quick: bool) -> list[Row]:
    weights = str(arena.folder / "ade20k.pth")
    shape = (64, 64) if quick else (256, 256)
    options = {"model.data_preprocessor.size": shape, "train_dataloader.dataset.pipeline.3.crop_size": shape}
    return [
        Row(
            key="train_step",
            title=f"training step, R50-D8, 150 classes, 2x{shape[0]}x{shape[1]}",
            script="train_step.py",
            work="train_step:Step",
            options=dict(recipe=sides.ADE20K, weights=weights, shape=shape, batch=2, num_classes=150, options=options),
            contestants=(
                Contestant("peer", "peer", {"setting": "published"}),
                Contestant("gcseg", "gcseg", {"setting": "published"}, FLOAT32),
                Contestant("gcseg --amp", "gcseg", {"setting": "amp"}, BFLOAT16),
                Contestant("peer tuned", "peer", {"setting": "tuned"}, BFLOAT16),
            ),
            comparisons=(
                Comparison("as published", "peer", "gcseg", aim=1.4),
                Comparison("--amp", "peer", "gcseg --amp", aim=3.5),
                Comparison("--amp, the peer tuned", "peer tuned", "gcseg --amp", aim=1.3),
            ),
            repetitions=2 if quick else 7,
            materials=[("harness.materials:weights", {"file": weights, "recipe": sides.ADE20K, "options": {}})],
        )
    ]


if __name__ == "__main__":
    main(rows, __doc__)
