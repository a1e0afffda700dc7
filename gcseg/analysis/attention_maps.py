"""What the positions of an image attend to in a trained model, and a picture of it.

Shape legend: C channels, (h, w) the positions of a block's features, L = h * w, Q attention maps (L of a pairwise
block, one of a pooled block), S positions attended to (L, or fewer where keys are sub-sampled).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gcseg.analysis.class_scores import class_scores
from gcseg.utils.errors import ConfigError, DataError

_METHODS = ("attention_maps", "attention_map")


@dataclass(frozen=True)
class Attention:
    """What one block made of one image.

    Attributes:
        x: what went in, (C, h, w).
        z: what came out, (C, h, w).
        maps: (Q, S).
        shape: (height, width) of the S positions.
        labels: the class that the model predicts at each position, (h, w).
        kind: class of the block.
    """

    x: Tensor
    z: Tensor
    maps: Tensor
    shape: tuple[int, int]
    labels: Tensor
    kind: str

    @property
    def mean_map(self) -> Tensor:
        """The mean over the queries, (S,)."""
        return self.maps.mean(0)


class AttentionProbe:
    """A model one of whose context blocks is watched.

    Args:
        model: from :func:`gcseg.apis.init_model`, without ``fast``.
        block: name of the block in ``model.named_modules()``; None takes the only one there is.

    Raises:
        ConfigError: no such block, or several.
    """

    def __init__(self, model: nn.Module, block: str | None = None) -> None:
        from gcseg.apis.images import build_preparation

        found = {name: m for name, m in model.named_modules() if any(hasattr(m, method) for method in _METHODS)}
        names = ", ".join(found) or "none"
        if block is None and len(found) != 1:
            raise ConfigError(f"the model has {len(found)} context blocks ({names}); name the one to look at")
        if block is not None and block not in found:
            raise ConfigError(f"the model has no context block {block!r}; it has: {names}")
        self.name = next(iter(found)) if block is None else block
        self.model = model
        self.block = found[self.name]
        self._prepare = build_preparation(model.cfg)

    def __call__(self, image: Any) -> Attention:
        """Run an image, as :func:`gcseg.apis.inference_model` takes it, through the whole model.

        Raises:
            ConfigError: the model is in training mode.
        """
        kept: dict[str, Tensor] = {}

        def keep(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            kept.update(x=args[0].clone(), z=output.clone())  # a later layer may write into them

        item = self._prepare(image)
        hook = self.block.register_forward_hook(keep)
        try:
            with torch.no_grad():
                logits = class_scores(self.model, item)
                x = kept["x"]
                pooled = hasattr(self.block, "attention_map")
                maps = self.block.attention_map(x).flatten(2) if pooled else self.block.attention_maps(x)
        finally:
            hook.remove()
        h, w = x.shape[-2:]
        shape = (h, w) if maps.shape[-1] == h * w else (h // 2, w // 2)
        labels = nn.functional.interpolate(logits, (h, w), mode="bilinear").argmax(1)
        return Attention(x[0], kept["z"][0], maps[0], shape, labels[0], type(self.block).__name__)


def draw_attention(
    image: Any,
    seen: Attention,
    other: Attention | None = None,
    queries: Sequence[Sequence[int]] | None = None,
    classes: Sequence[str] = (),
) -> np.ndarray:
    """Paint an image, maps of some of its positions, their mean over all positions, and the second model's map.

    Args:
        image: as for :func:`gcseg.apis.inference_model`.
        seen: of the model in question.
        other: of a second model.
        queries: see :func:`compare_attention`; a model with one map has none.
        classes: names, to say on what a query lies.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        DataError: a query outside the features.
        ConfigError: queries of a model with one map.
    """
    from gcseg.apis.images import photograph
    from gcseg.visualization import AttentionTile, paint_attention

    h, w = seen.labels.shape
    per_position = len(seen.maps) == h * w
    if queries is not None and not per_position:
        raise ConfigError("the block has one map for all positions, so that queries have no effect; remove them")
    labels = seen.labels.cpu().numpy()

    def tile(title: str, weights: Tensor, shape: tuple[int, int], query: tuple[int, int] | None = None) -> Any:
        array = weights.clamp_min(0).float().cpu().numpy().reshape(shape)
        return AttentionTile(title, array, query)

    tiles: list[Any] = []
    for row, column in _middles(labels) if queries is None else queries:
        if not (0 <= row < h and 0 <= column < w):
            raise DataError(f"query {row} {column} is outside the features, {h} x {w} (height x width)")
        name = classes[labels[row, column]] if len(classes) > labels.max() else f"class {labels[row, column]}"
        if per_position:
            on_map = (row * seen.shape[0] // h, column * seen.shape[1] // w)
            tiles.append(tile(f"query {len(tiles) + 1}: {name}", seen.maps[row * w + column], seen.shape, on_map))
    for model in (seen, other) if other is not None else (seen,):
        title = f"{model.kind}, {'mean of all maps' if len(model.maps) > 1 else 'its one map'}"
        tiles.append(tile(title, model.mean_map, model.shape))
    return paint_attention(photograph(image), tiles)


def _middles(labels: np.ndarray, number: int = 5) -> list[tuple[int, int]]:
    """A position well inside each of the largest classes, (row, column), from top to bottom."""
    from gcseg.visualization.paint import inner_point

    values, counts = np.unique(labels, return_counts=True)
    largest = values[np.argsort(-counts, kind="stable")[:number]]
    return sorted(inner_point(labels == value)[::-1] for value in largest)
