"""The train pipeline of Cityscapes: from 2048x1024 files to a crop of 512x1024, per image.

As in a worker of the data loader: one thread, OpenCV without threads of its own. Both sides draw the same random
numbers and must make the same crops.

python benchmarks/train_pipeline.py [--quick]
"""

from __future__ import annotations

from typing import Any

from harness import materials, sides
from harness.command import main
from harness.contest import Arena, Comparison, Contestant, Row
from harness.work import Work

# Nothing may differ in the labels, and in the images a grey level here and there.
SAME = {"images": 1e-3, "labels": 0.0}


class Pipeline(Work):
    """Read and transform every picture of a data set once.

    Args:
        side: ``"gcseg"`` or ``"peer"``.
        folder: of :func:`harness.materials.city`.
        options: overrides of the recipe.
        store: folder of a decoded store to read from, in place of the files.
    """

    def __init__(self, side: str, folder: str, options: dict[str, Any], store: str | None = None) -> None:
        import cv2

        cv2.setNumThreads(0)
        cfg = sides.recipe(side, sides.CITYSCAPES, options).train_dataloader.dataset
        cfg.data_root = folder
        if store:
            cfg.store = store
        if side == "gcseg":
            from gcseg.registry import DATASETS
        else:
            from mmseg.registry import DATASETS
            from mmseg.utils import register_all_modules

            register_all_modules()
        self.dataset = DATASETS.build(cfg)
        self.items = len(self.dataset)
        self.crops: list[Any] = []

    def before(self) -> None:
        import numpy as np

        self.crops = []
        np.random.seed(materials.SEED)  # noqa: NPY002  # the generator that both sides' transforms draw from

    def run(self) -> None:
        self.crops = [self.dataset[i] for i in range(self.items)]

    def answer(self) -> dict[str, Any]:
        import numpy as np

        return {
            "images": np.stack([crop["inputs"].numpy() for crop in self.crops]).astype(np.float32),
            "labels": np.stack([crop["data_samples"].gt_sem_seg.data.numpy() for crop in self.crops]),
        }


def write_store(folder: str, store: str) -> None:
    """Decode what ``harness.materials.city`` wrote, as `gcseg store` does."""
    from gcseg.apis.store import write_store as write

    write(sides.CITYSCAPES, store, cfg_options={"train_dataloader.dataset.data_root": folder})


def rows(arena: Arena, quick: bool) -> list[Row]:
    folder, store = str(arena.folder / "city"), str(arena.folder / "store")
    shape, crop, count = ((128, 256), (64, 128), 2) if quick else ((1024, 2048), (512, 1024), 8)
    options = {
        "train_dataloader.dataset.pipeline.2.scale": (shape[1], shape[0]),
        "train_dataloader.dataset.pipeline.3.crop_size": crop,
        "model.data_preprocessor.size": crop,
    }
    return [
        Row(
            key="train_pipeline",
            title=f"train pipeline of Cityscapes, {shape[1]}x{shape[0]}, one thread, per image",
            script="train_pipeline.py",
            work="train_pipeline:Pipeline",
            options={"folder": folder, "options": options},
            contestants=(
                Contestant("peer", "peer"),
                Contestant("gcseg", "gcseg", {}, SAME),
                Contestant("gcseg, store", "gcseg", {"store": store}, SAME),
            ),
            comparisons=(
                Comparison("from PNG", "peer", "gcseg", aim=1.15),
                Comparison("from the decoded store", "peer", "gcseg, store", aim=8),
            ),
            repetitions=3 if quick else 7,
            show_memory=False,
            threads=1,
            materials=[
                ("harness.materials:city", {"folder": folder, "count": count, "shape": shape}),
                ("train_pipeline:write_store", {"folder": folder, "store": store}),
            ],
        )
    ]


if __name__ == "__main__":
    main(rows, __doc__)
