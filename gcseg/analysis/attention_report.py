"""How much attention differs from position to position in a trained model, over many images."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from gcseg.analysis.attention_distance import (
    cosine_distance,
    is_distribution,
    jensen_shannon,
    mean_cosine_distance,
    mean_jensen_shannon,
)
from gcseg.analysis.attention_maps import Attention, AttentionProbe, draw_attention
from gcseg.utils.errors import ConfigError, DataError
from gcseg.utils.progress import progress

ModelSpec = Sequence[str | os.PathLike]


@dataclass(frozen=True)
class AttentionDistances:
    """Average distances over all pairs of positions, see :mod:`gcseg.analysis.attention_distance`.

    nan stands for what is not defined: the cosine of a context that is zero, the divergence of maps that are no
    distributions, a comparison with a second model that was not given.

    Attributes:
        input_cosine: of the features that go into the block.
        context_cosine: of what the block adds to them.
        output_cosine: of the features that come out.
        attention_cosine: of the attention maps; 0 for a block with one map.
        attention_jsd: Jensen-Shannon divergence of the attention maps, in nats.
        attention_jsd_error: standard error of that from drawing pairs.
        other_cosine: distance of the mean map to the mean map of the second model.
        other_jsd: its Jensen-Shannon divergence.
        other_attention_cosine: of the attention maps of the second model, like ``attention_cosine``.
        other_attention_jsd: of the attention maps of the second model, like ``attention_jsd``.
    """

    input_cosine: float
    context_cosine: float
    output_cosine: float
    attention_cosine: float
    attention_jsd: float
    attention_jsd_error: float
    other_cosine: float = math.nan
    other_jsd: float = math.nan
    other_attention_cosine: float = math.nan
    other_attention_jsd: float = math.nan


def attention_distances(
    seen: Attention, other: Attention | None = None, pairs: int = 5000, seed: int = 0
) -> AttentionDistances:
    """The distances within one image.

    Args:
        seen: of the model in question.
        other: of a second model, for the same image; its map is the mean over its queries.
        pairs: attention maps to compare for the Jensen-Shannon divergence.
        seed: of their draw.

    Raises:
        DataError: the two models attend to different positions.
    """
    vectors = [v.flatten(1).T for v in (seen.x, seen.z - seen.x, seen.z)]
    jsd, error = mean_jensen_shannon(seen.maps, pairs, seed)
    of_other: tuple[float, ...] = ()
    if other is not None:
        if seen.shape != other.shape:
            raise DataError(
                f"the first model attends to {seen.shape[0]} x {seen.shape[1]} positions (height x width), the second "
                f"to {other.shape[0]} x {other.shape[1]}; compare blocks of one stride, with the same test pipeline"
            )
        a, b = seen.mean_map, other.mean_map
        shannon = float(jensen_shannon(a, b)) if is_distribution(a) and is_distribution(b) else math.nan
        within = mean_cosine_distance(other.maps), mean_jensen_shannon(other.maps, pairs, seed)[0]
        of_other = (float(cosine_distance(a, b)), shannon, *within)
    x, context, z, maps = (mean_cosine_distance(v) for v in (*vectors, seen.maps))
    return AttentionDistances(x, context, z, maps, jsd, error, *of_other)


@dataclass(frozen=True)
class AttentionReport:
    """The distances of several images.

    Attributes:
        block: name of the block that was looked at.
        positions: (h, w) of its features in the first image.
        images: one entry per image.
        pairs: attention maps compared in each image, at most.
    """

    block: str
    positions: tuple[int, int]
    images: tuple[AttentionDistances, ...]
    pairs: int

    @property
    def mean(self) -> AttentionDistances:
        """The mean over the images; of the standard errors, that of the mean."""
        table = self._table()
        mean = table.mean(0)
        error = [f.name for f in fields(AttentionDistances)].index("attention_jsd_error")
        mean[error] = float(np.linalg.norm(table[:, error])) / len(table)
        return AttentionDistances(*mean.tolist())

    @property
    def deviation(self) -> AttentionDistances:
        """The standard deviation over the images."""
        return AttentionDistances(*self._table().std(0).tolist())

    def _table(self) -> np.ndarray:
        return np.array([list(asdict(image).values()) for image in self.images])

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON; nan is None."""
        rows = {"mean": self.mean, "deviation": self.deviation}
        summary = {name: _without_nan(asdict(row)) for name, row in rows.items()}
        images = [_without_nan(asdict(image)) for image in self.images]
        return {"block": self.block, "positions": self.positions, "pairs": self.pairs, **summary, "images": images}

    def __str__(self) -> str:
        mean, deviation = self.mean, self.deviation
        rows = [
            ("input features, cosine", mean.input_cosine, deviation.input_cosine),
            ("added context, cosine", mean.context_cosine, deviation.context_cosine),
            ("output features, cosine", mean.output_cosine, deviation.output_cosine),
            ("attention maps, cosine", mean.attention_cosine, deviation.attention_cosine),
            ("attention maps, Jensen-Shannon", mean.attention_jsd, deviation.attention_jsd),
            ("the other model's maps, cosine", mean.other_attention_cosine, deviation.other_attention_cosine),
            ("the other model's maps, Jensen-Shannon", mean.other_attention_jsd, deviation.other_attention_jsd),
            ("mean map to the other model's, cosine", mean.other_cosine, deviation.other_cosine),
            ("mean map to the other model's, Jensen-Shannon", mean.other_jsd, deviation.other_jsd),
        ]
        if math.isnan(mean.other_cosine):
            rows = rows[:5]
        lines = [
            f"block {self.block}, {len(self.images)} images, {self.positions[0]}x{self.positions[1]} positions",
            "",
            f"| {'average distance':45} | mean   | deviation over images |",
            f"|{'-' * 47}|-------:|----------------------:|",
        ]
        lines += [f"| {name:45} | {_figure(value)} | {_figure(spread):>21} |" for name, value, spread in rows]
        lines += ["", "Cosine: 0 for equal maps, 0.5 for orthogonal ones. Jensen-Shannon: 0 to ln 2 = 0.693."]
        if mean.attention_jsd_error > 0:
            lines.append(
                f"Of each image {self.pairs} pairs of maps were drawn: the Jensen-Shannon mean has a standard error of "
                f"{mean.attention_jsd_error:.1g} from that."
            )
        return "\n".join(lines)


def compare_attention(
    model: ModelSpec,
    other: ModelSpec | None = None,
    images: Sequence[Any] | None = None,
    *,
    max_images: int | None = None,
    pairs: int = 5000,
    seed: int = 0,
    device: str | None = None,
    picture: str | os.PathLike | None = None,
    queries: Sequence[Sequence[int]] | None = None,
) -> AttentionReport:
    """Measure how much attention maps differ from position to position, and perhaps paint them.

    Args:
        model: config, checkpoint, and the name of the block where there are several; usually a non-local network.
        other: the same of a second model, usually GCNet, with whose map the mean map is compared.
        images: files, folders or arrays; the validation set of ``model`` by default.
        max_images: at most this many of them, evenly spaced.
        pairs: attention maps to compare in each image for the Jensen-Shannon divergence, at least two.
        seed: of their draw.
        device: where to compute; the first GPU, or the CPU, by default.
        picture: file to write the maps of the first image to.
        queries: (row, column) of the positions to paint, counted in the block's features; by default the middles of
            the five largest predicted classes.

    Raises:
        ConfigError: no such block, nothing to paint the queries in, a number too small.
        DataError: no images, or two models that do not attend to the same positions.
    """
    from gcseg.apis.images import list_inputs
    from gcseg.visualization.local_visualizer import write_picture

    if pairs < 2 or (max_images is not None and max_images < 1):
        raise ConfigError(f"{pairs=}, {max_images=}: allowed are at least 2 and at least 1")
    if queries is not None and picture is None:
        raise ConfigError("queries have an effect in the picture alone; name its file with --picture, or remove them")
    probe = _probe(model, device)
    second = None if other is None else _probe(other, device)
    inputs = list_inputs(images) if images is not None else _validation_images(probe.model.cfg)
    if not inputs:
        raise DataError("compare_attention: no images; give at least one")
    if max_images is not None and len(inputs) > max_images:
        inputs = [inputs[i * len(inputs) // max_images] for i in range(max_images)]
    found = []
    positions = (0, 0)
    for index, image in enumerate(progress(inputs, desc="attention", unit="image")):
        seen, of_second = probe(image), None if second is None else second(image)
        found.append(attention_distances(seen, of_second, pairs, seed + index))
        if index == 0:
            positions = (seen.x.shape[1], seen.x.shape[2])
            if picture is not None:
                classes = probe.model.dataset_meta["classes"]
                write_picture(draw_attention(image, seen, of_second, queries, classes), picture)
    return AttentionReport(probe.name, positions, tuple(found), pairs)


def _probe(spec: ModelSpec, device: str | None) -> AttentionProbe:
    from gcseg.apis.inference import init_model

    if not 2 <= len(spec) <= 3:
        raise ConfigError(f"a model is given as CONFIG CHECKPOINT [BLOCK]; received {len(spec)} words")
    return AttentionProbe(init_model(spec[0], spec[1], device), str(spec[2]) if len(spec) == 3 else None)


def _validation_images(cfg: Any) -> list[str]:
    from gcseg.analysis.data_check.sources import list_sources

    sources, findings = list_sources(cfg, ["val"])
    if findings:
        raise DataError(findings[0].message)
    return [image for source in sources for image, _ in source.pairs]


def _figure(value: float) -> str:
    return "-     " if math.isnan(value) else f"{value:.4f}"


def _without_nan(values: dict[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in values.items()}
