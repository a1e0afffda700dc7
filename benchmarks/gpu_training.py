"""Training on a GPU: images per second and peak memory, both sides in the same precision.

GCNet R50-D8 on crops of 512x1024 with 19 classes and of 512x512 with 150 classes. The batches lie in memory, as if a
data loader kept up. Without a GPU the rows say so.

python benchmarks/gpu_training.py [--quick]
"""

from __future__ import annotations

from harness import sides
from harness.command import main
from harness.contest import Arena, Comparison, Contestant, Row
from train_step import BFLOAT16

# torch may use other convolutions on either side, and rounds their factors to 10 bits (TF32) in float32.
FLOAT32 = {"loss": 1e-3, "step": 3e-2}


def rows(arena: Arena, quick: bool) -> list[Row]:
    out = []
    for key, recipe, shape, num_classes in (
        ("gpu_cityscapes", sides.CITYSCAPES, (512, 1024), 19),
        ("gpu_ade20k", sides.ADE20K, (512, 512), 150),
    ):
        batch = 4
        if quick:
            shape, batch = (64, 64), 2
        weights = str(arena.folder / f"{key}.pth")
        sizes = {"model.data_preprocessor.size": shape, "train_dataloader.dataset.pipeline.3.crop_size": shape}
        options = dict(recipe=recipe, weights=weights, shape=shape, batch=batch, num_classes=num_classes)
        options.update(options=sizes if quick else {}, device="cuda", per_image=True, steps=2 if quick else 10)
        row = Row(
            key=key,
            title=f"GPU training, R50-D8, {num_classes} classes, {batch}x{shape[0]}x{shape[1]}",
            script="gpu_training.py",
            work="train_step:Step",
            options=options,
            contestants=(
                Contestant("peer", "peer", {"setting": "published"}),
                Contestant("gcseg", "gcseg", {"setting": "published"}, FLOAT32),
                Contestant("peer --amp", "peer", {"setting": "amp"}, BFLOAT16),
                Contestant("gcseg --amp", "gcseg", {"setting": "amp"}, BFLOAT16),
                Contestant("gcseg --amp --compile", "gcseg", {"setting": "compiled"}, BFLOAT16),
            ),
            comparisons=(
                Comparison("as published", "peer", "gcseg", aim=1.3, memory_aim=0.7),
                Comparison("--amp on both, bfloat16", "peer --amp", "gcseg --amp", aim=1.5, memory_aim=0.6),
                Comparison("--amp on both, --compile", "peer --amp", "gcseg --amp --compile"),
            ),
            repetitions=2 if quick else 5,
            unit="img/s",
            needs_gpu=True,
            materials=[("harness.materials:weights", {"file": weights, "recipe": recipe, "options": {}})],
        )
        out.append(row)
    return out


if __name__ == "__main__":
    main(rows, __doc__)
