"""Prediction of a photograph by sliding windows: GCNet R50-D8, windows of 769 every 513 pixels over 1024x2048.

python benchmarks/slide_inference.py [--quick]
"""

from __future__ import annotations

from harness import sides
from harness.command import main
from harness.contest import Arena, Comparison, Row
from whole_inference import CONTESTANTS


def rows(arena: Arena, quick: bool) -> list[Row]:
    weights = str(arena.folder / "cityscapes.pth")
    window, stride, shape = (65, 33, (96, 160)) if quick else (769, 513, (1024, 2048))
    # The warm-up is an image of one window: everything but the buffers of the whole image.
    options = {
        "recipe": sides.CITYSCAPES_769,
        "weights": weights,
        "shape": shape,
        "warm_up_shape": (window, window),
        "options": {"model.test_cfg": dict(mode="slide", crop_size=(window, window), stride=(stride, stride))},
    }
    return [
        Row(
            key="slide_inference",
            title=f"slide inference, R50-D8, {window}/{stride} windows over {shape[0]}x{shape[1]}",
            script="slide_inference.py",
            work="whole_inference:Inference",
            options=options,
            contestants=CONTESTANTS,
            comparisons=(
                Comparison("as published", "peer", "gcseg", aim=1.4),
                Comparison("--amp", "peer", "gcseg --amp", aim=6),
            ),
            repetitions=2,
            materials=[("harness.materials:weights", {"file": weights, "recipe": sides.CITYSCAPES, "options": {}})],
        )
    ]


if __name__ == "__main__":
    main(rows, __doc__)
