"""Made-up runs for the tests of the report."""

import io
from dataclasses import replace

import numpy as np
from PIL import Image

from gcseg.visualization.report import Calibration, ClassScores, Curve, Evaluation, Picture, Run, Training

HOSTILE = '</script x><img src=x onerror="document.title=1">&amp;\u2028'


def encoded(pixels, kind="PNG"):
    file = io.BytesIO()
    pixels = np.asarray(pixels)
    Image.fromarray(pixels.astype(np.uint8 if pixels.max() < 256 else np.uint16)).save(file, kind)
    return file.getvalue()


def picture(i, classes):
    """A picture whose truth is classes i and i + 1 (left and right), and whose prediction is class i."""
    truth = np.full((30, 50), i % classes)
    truth[:, 25:] = (i + 1) % classes
    truth[:5] = classes
    prediction = np.full((30, 50), i % classes)
    iou = {i % classes: 0.5, (i + 1) % classes: 0.0}
    photograph = encoded(np.full((30, 50, 3), 10 * i), "JPEG")
    return Picture(f"some/folder/p{i}.jpg", 0.1 * i, 0.5, iou, photograph, encoded(truth), encoded(prediction))


def evaluation(classes=4, pictures=6, name="class {}", shift=0.0):
    confusion = np.full((classes, classes), 10)
    np.fill_diagonal(confusion, 1000)
    scores = [
        ClassScores(name.format(i), (i + 1) / (classes + 1) + shift, 0.5, 0.25, 1 / classes) for i in range(classes)
    ]
    half = pictures // 2
    return Evaluation(
        "test of iter_4.pth",
        tuple(scores),
        confusion=confusion,
        calibration=Calibration((0.0, 10.0, 30.0), (0.0, 5.0, 27.0), (0.0, 6.0, 24.0)),
        worst=tuple(picture(i, classes) for i in range(half)),
        best=tuple(picture(i, classes) for i in range(half, pictures)),
        num_images=40,
        boundary_ratio=0.02,
    )


def training(points=60):
    steps = tuple(range(20, 20 * points + 1, 20))
    loss = [2.0 / (i + 1) for i in range(points)]
    loss[points // 2] = None
    return Training(
        losses=(Curve("loss", steps, tuple(loss)), Curve("decode.loss_ce", steps, tuple(1.0 for _ in steps))),
        rates=(Curve("lr", steps, tuple(0.01 / (i + 1) for i in range(points))),),
        scores=(Curve("mIoU", (400, 800), (40.0, 60.0)),),
        resumed=(600,),
        not_finite=(steps[points // 2],),
    )


def run(**changes):
    whole = Run(
        "a run",
        training(),
        evaluation(),
        config="a = 1\nb = 2\n",
        speed={"network and metrics": "12.0 ms an image"},
        environment={"PyTorch": "2.15"},
    )
    return replace(whole, **changes)
