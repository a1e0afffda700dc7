"""How much of the machine is used: operations per second of prediction and training beside those of a matrix product.

In float32 and bfloat16; the ceiling is torch's own matrix product of 2048x2048 matrices, measured in the same run, and
beside it the commonest convolution of the network. torch has two libraries that multiply matrices on a CPU, MKL and
oneDNN; which is faster depends on the processor, by a factor of two or more: the ceiling is the faster. Operations are
the multiplications and additions of convolutions and matrix products (:mod:`gcseg.analysis`), the same number for both
sides, whatever either does on top or saves.

python benchmarks/ceilings.py [--quick]
"""

from __future__ import annotations

import json
import timeit
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import sides
from harness.command import main
from harness.contest import Arena, Comparison, Contestant, Row
from harness.work import Work
from train_step import Step
from whole_inference import Inference


class MatrixProduct(Work):
    """Product of two square matrices: as such, or as a 1x1 convolution, whichever is faster here.

    Args:
        side: not used.
        dtype: ``"float32"`` or ``"bfloat16"``.
        size: rows and columns.
        count: products in one repetition.
    """

    def __init__(self, side: str, dtype: str, size: int, count: int) -> None:
        import torch

        if dtype != "float32":
            sides.need_bfloat16("cpu")
        a, b = (torch.randn(size, size).to(getattr(torch, dtype)) for _ in range(2))
        # The same numbers: positions are the rows of a, channels its columns.
        pixels = a.view(1, 1, size, size).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        kernel = b.t().reshape(size, size, 1, 1).contiguous(memory_format=torch.channels_last)
        self.ways = (lambda: a @ b, lambda: torch.nn.functional.conv2d(pixels, kernel))
        self.size, self.items = size, count
        self.times = [min(timeit.repeat(way, number=1, repeat=5)) for way in self.ways]
        self.product = self.ways[self.times.index(min(self.times))]

    def run(self) -> None:
        for _ in range(self.items):
            self.product()

    def figures(self) -> dict[str, float]:
        flop = 2.0 * self.size**3
        return {"flop": flop, "flops_matmul": flop / self.times[0], "flops_convolution": flop / self.times[1]}


class Convolution(Work):
    """3x3 convolution of 256 channels, dilated by 2, channels_last: what most of R50-D8 is made of.

    Args:
        side: not used.
        dtype: ``"float32"`` or ``"bfloat16"``.
        shape: (H, W) of the map.
        count: convolutions in one repetition.
    """

    def __init__(self, side: str, dtype: str, shape: Sequence[int], count: int) -> None:
        import torch

        if dtype != "float32":
            sides.need_bfloat16("cpu")
        layout = dict(dtype=getattr(torch, dtype), memory_format=torch.channels_last)
        self.layer = torch.nn.Conv2d(256, 256, 3, padding=2, dilation=2, bias=False).to(**layout)
        self.map = torch.randn(1, 256, *shape).to(**layout)
        self.items = count

    def run(self) -> None:
        import torch

        with torch.no_grad():
            for _ in range(self.items):
                self.layer(self.map)

    def figures(self) -> dict[str, float]:
        return {"flop": 2.0 * 256 * 256 * 9 * self.map.shape[-2] * self.map.shape[-1]}


class CountedInference(Inference):
    """Prediction, with its operations; ``operations`` is a file of :func:`operations_of_inference`."""

    def __init__(self, operations: str, **options: Any) -> None:
        super().__init__(**options)
        self.flop = json.loads(Path(operations).read_text())

    def figures(self) -> dict[str, float]:
        return {"flop": self.flop}


class CountedStep(Step):
    """A training step, with its operations; ``operations`` is a file of :func:`operations_of_training`."""

    def __init__(self, operations: str, **options: Any) -> None:
        super().__init__(**options)
        self.flop = json.loads(Path(operations).read_text())

    def figures(self) -> dict[str, float]:
        return {"flop": self.flop}


def operations_of_inference(file: str, recipe: str, shape: Sequence[int]) -> None:
    """Write the operations of the prediction of one image (H, W)."""
    from gcseg.analysis import count_complexity

    Path(file).write_text(json.dumps(count_complexity(recipe, shape).total_flops))


def operations_of_training(file: str, recipe: str, shape: Sequence[int], batch: int) -> None:
    """Write the operations of a training step: forward and backward pass of backbone and heads, without the loss."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from gcseg.apis import init_model

    model = init_model(recipe, device="cpu").to("meta").train()
    images = torch.empty(batch, 3, *shape, device="meta")
    with FlopCounterMode(display=False) as counter:
        features = model.extract_feat(images)
        (model.decode_head(features).sum() + model.auxiliary_head(features).sum()).backward()
    Path(file).write_text(json.dumps(counter.get_total_flops()))


def rows(arena: Arena, quick: bool) -> list[Row]:
    cityscapes, ade20k = str(arena.folder / "cityscapes.pth"), str(arena.folder / "ade20k.pth")
    predicting, training = str(arena.folder / "predicting.json"), str(arena.folder / "training.json")
    image, crop, size, shape = (512, 1024), (256, 256), 2048, (64, 128)
    if quick:
        image, crop, size, shape = (64, 128), (64, 64), 256, (8, 16)
    sizes = {"model.data_preprocessor.size": crop, "train_dataloader.dataset.pipeline.3.crop_size": crop}
    predict = dict(recipe=sides.CITYSCAPES, weights=cityscapes, shape=image, operations=predicting)
    train = dict(recipe=sides.ADE20K, weights=ade20k, shape=crop, batch=2, num_classes=150, options=sizes)
    train["operations"] = training
    contestants, comparisons = [], []
    for dtype, setting in (("float32", "published"), ("bfloat16", "amp")):
        product, convolution = f"matrix product {size}x{size}, {dtype}", f"convolution 3x3, {dtype}"
        kernels = (
            Contestant(product, "gcseg", dict(dtype=dtype, size=size, count=4), work="ceilings:MatrixProduct"),
            Contestant(convolution, "gcseg", dict(dtype=dtype, shape=shape, count=8), work="ceilings:Convolution"),
        )
        # In bfloat16 the peer's commands do not compute on a CPU; the peer is then the hand-tuned one.
        peer = "peer" if setting == "published" else "peer tuned"
        models = [
            Contestant(f"{who} {what}, {dtype}", side, {"setting": how, **options}, work=f"ceilings:{work}")
            for what, options, work in (("inference", predict, "CountedInference"), ("training", train, "CountedStep"))
            for who, side, how in (
                ("gcseg", "gcseg", setting),
                (peer, "peer", "published" if setting == "published" else "tuned"),
            )
        ]
        contestants += [*kernels, *models]
        comparisons += [Comparison(dtype, product, c.name) for c in (kernels[1], *models)]
    return [
        Row(
            key="ceilings",
            title=f"operations per second: inference of {image[0]}x{image[1]}, training of 2x{crop[0]}x{crop[1]}",
            script="ceilings.py",
            work="",
            contestants=contestants,
            comparisons=comparisons,
            repetitions=2 if quick else 5,
            unit="FLOP/s",
            show_memory=False,
            materials=[
                ("harness.materials:weights", {"file": cityscapes, "recipe": sides.CITYSCAPES, "options": {}}),
                ("harness.materials:weights", {"file": ade20k, "recipe": sides.ADE20K, "options": {}}),
                ("ceilings:operations_of_inference", {"file": predicting, "recipe": sides.CITYSCAPES, "shape": image}),
                (
                    "ceilings:operations_of_training",
                    {"file": training, "recipe": sides.ADE20K, "shape": crop, "batch": 2},
                ),
            ],
        )
    ]


if __name__ == "__main__":
    main(rows, __doc__)
