"""Where in an image a class of a segmentation comes from: Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gcseg.analysis.class_scores import class_scores
from gcseg.utils.errors import ConfigError
from gcseg.utils.names import unknown_name_message


def grad_cam(
    model: nn.Module,
    image: Any,
    category: int | str,
    layer: str = "backbone.layer4",
    pixel: tuple[int, int] | None = None,
) -> np.ndarray:
    """How much each position of a layer's features speaks for a class.

    The score of a class is the sum of its logits over the pixels that are predicted as the class (Vinogradova et al.
    2020, arXiv 2002.11434), or over all pixels where none is; or the logit of one pixel. Each channel is weighted by
    the mean of the score's gradient over the positions (eq. 1), and what is negative in their sum is left out (eq. 2).

    Args:
        model: from :func:`gcseg.apis.init_model`, without ``fast``; it is not changed.
        image: as for :func:`gcseg.apis.inference_model`.
        category: index or name of the class.
        layer: name of a module in ``model.named_modules()`` that returns one feature map (N, C, h, w).
        pixel: (y, x) in the logits of the head; see above.

    Returns:
        (h, w) float32, from 0 on.

    Raises:
        ConfigError: no such layer, class or pixel, the layer has no influence on the logits, or the model is training.
    """
    from gcseg.apis.images import build_preparation

    classes = [str(name) for name in model.dataset_meta["classes"]]
    index = _class_index(category, classes)
    modules = dict(model.named_modules())
    if not layer or layer not in modules:
        raise ConfigError(unknown_name_message("layer", layer, [name for name in modules if name]))
    kept: list[Tensor] = []

    def keep(module: nn.Module, args: Any, output: Any) -> Tensor:
        if not isinstance(output, Tensor) or output.ndim != 4:
            raise ConfigError(f"layer {layer!r} returns no feature map (N, C, h, w); name one inside it")
        kept.append(output.detach().requires_grad_())
        return kept[-1]

    item = build_preparation(model.cfg)(image)
    hook = modules[layer].register_forward_hook(keep)
    try:
        with torch.enable_grad():
            logits = class_scores(model, item)[0]  # C h w
            if pixel is not None and not (0 <= pixel[0] < logits.shape[1] and 0 <= pixel[1] < logits.shape[2]):
                raise ConfigError(f"pixel {pixel} is outside the logits, {tuple(logits.shape[1:])} (height, width)")
            score = _score(logits, index, pixel)
            (gradient,) = torch.autograd.grad(score, kept[-1:], allow_unused=True) if kept else (None,)
    finally:
        hook.remove()
    if gradient is None:
        raise ConfigError(f"layer {layer!r} has no part in the logits of the decode head; name one before them")
    weights = gradient.mean((2, 3), keepdim=True)
    return (weights * kept[-1]).sum(1)[0].relu().detach().float().cpu().numpy()


def _score(logits: Tensor, index: int, pixel: tuple[int, int] | None) -> Tensor:
    if pixel is not None:
        return logits[index, pixel[0], pixel[1]]
    predicted = logits.argmax(0) == index
    return logits[index][predicted].sum() if predicted.any() else logits[index].sum()


def _class_index(category: int | str, classes: list[str]) -> int:
    if isinstance(category, str) and category in classes:
        return classes.index(category)
    try:
        index = int(category)
    except ValueError:
        raise ConfigError(unknown_name_message("class", str(category), classes)) from None
    if not 0 <= index < len(classes):
        raise ConfigError(f"class {index}: the model has classes 0 to {len(classes) - 1}")
    return index
