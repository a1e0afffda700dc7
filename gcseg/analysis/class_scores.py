"""The scores of the classes in one image, for a look into the model that makes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gcseg.apis.inference import require_evaluation


def class_scores(model: nn.Module, item: Mapping[str, Any]) -> Tensor:
    """Run a prepared image through a model.

    Args:
        model: a segmentor in evaluation mode.
        item: from :func:`gcseg.apis.images.build_preparation`.

    Returns:
        (1, C, h, w), a logit for each class at the resolution of the features. Where the model has one score per pixel,
        that of class 1 is its distance from the threshold and that of class 0 the opposite.

    Raises:
        ConfigError: the model is in training mode.
    """
    require_evaluation(model)
    data = model.data_preprocessor({"inputs": [item["inputs"]], "data_samples": [item["data_samples"]]}, False)
    logits = model(data["inputs"], data["data_samples"], mode="tensor")
    if logits.shape[1] > 1:
        return logits
    threshold = model.decode_head.threshold
    distance = logits - torch.logit(torch.tensor(threshold, dtype=torch.float64)).item()
    return torch.cat([-distance, distance], 1)
