"""Files that contestants share: weights and pictures. Made by gcseg, read by all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

#: Seed of everything random here.
SEED = 20240607


def weights(file: str, recipe: str, options: dict[str, Any]) -> None:
    """Save random weights that behave like trained ones, under the names that gcseg and the peer have in common.

    The running statistics of the batch norms are those of one random batch, so that activations stay in the range of a
    trained network's; with the default ones they double in every residual block. Residual branches add a part of what
    they are added to, or rounding would grow from block to block as it does not in a trained network. The last layer is
    scaled up so that the scores of the classes lie apart.

    Args:
        file: where to.
        recipe: of the model.
        options: overrides of the recipe.
    """
    import torch
    from torch import nn

    from gcseg.apis import init_model

    torch.manual_seed(SEED)
    model = init_model(recipe, device="cpu", cfg_options=options)
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            module.momentum = 1.0
            if name.endswith("bn3"):
                module.weight.data.mul_(0.3)
    model.decode_head.conv_seg.weight.data.mul_(20)
    with torch.no_grad():
        features = model.train().extract_feat(torch.randn(2, 3, 128, 128))
        for head in (model.decode_head, model.auxiliary_head):
            head(features)
    part = Path(file).with_suffix(".part")
    torch.save({"state_dict": model.state_dict(), "meta": {"dataset_meta": model.dataset_meta}}, part)
    part.replace(file)


def street(number: int, shape: tuple[int, int]) -> tuple[Any, Any]:
    """A photograph-like picture (H, W, 3) uint8 RGB and its labels (H, W) uint8 in Cityscapes' train ids, 255 void."""
    import numpy as np

    from gcseg.datasets.demo_scene import render_street
    from gcseg.metainfo import CITYSCAPES, DEMO

    picture, label = render_street(shape, (SEED, number))
    train_ids = np.full(256, 255, np.uint8)
    for index, name in enumerate(DEMO["classes"]):
        train_ids[index] = CITYSCAPES["classes"].index(name)
    return picture, train_ids[label]


def city(folder: str, count: int, shape: list[int]) -> None:
    """Write pictures and labels in the layout of Cityscapes.

    They are drawn at half the size and enlarged, with the noise of a camera on top: sharp as an 8-bit camera behind a
    demosaicing filter, and about as large a file as Cityscapes' own (2.3 MB for 1024x2048).

    Args:
        folder: where to: ``leftImg8bit/train/city`` and ``gtFine/train/city`` below it.
        count: number of pictures.
        shape: their (H, W).
    """
    import cv2
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(SEED)
    height, width = shape
    images, labels = (Path(folder, kind, "train", "city") for kind in ("leftImg8bit", "gtFine"))
    for path in (images, labels):
        os.makedirs(path, exist_ok=True)
    for number in range(count):
        picture, label = street(number, (-(-height // 2), -(-width // 2)))
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
        picture = np.clip(np.rint(picture + rng.normal(0, 0.35, picture.shape)), 0, 255).astype(np.uint8)
        label = cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST)
        Image.fromarray(picture).save(images / f"city_{number:06d}_leftImg8bit.png")
        Image.fromarray(label).save(labels / f"city_{number:06d}_gtFine_labelTrainIds.png")
