"""The published models: what they score, where their weights are, and whether they score that here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gcseg.config import load_config, recipes
from gcseg.utils.errors import ConfigError
from gcseg.utils.names import unknown_name_message


@dataclass(frozen=True)
class PublishedModel:
    """One entry of a ``metafile.yaml`` beside the recipes.

    Attributes:
        name: of the recipe.
        dataset: what it was trained and evaluated on.
        miou: published mIoU in percent, at a single scale.
        miou_tta: with multiple scales and flipping; None where it is not published.
        weights: URL.
    """

    name: str
    dataset: str
    miou: float
    miou_tta: float | None
    weights: str

    def as_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        return asdict(self)


@dataclass(frozen=True)
class Verification:
    """A published score and the one found here.

    Attributes:
        name: of the model.
        score: what was compared, ``"mIoU"`` or ``"mIoU(ms+flip)"``.
        published: in percent.
        found: in percent.
        tolerance: how far they may lie apart, in points.
    """

    name: str
    score: str
    published: float
    found: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        """Whether the two are within the tolerance."""
        return abs(self.found - self.published) <= self.tolerance

    def as_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        return {**asdict(self), "agrees": self.agrees}

    def __str__(self) -> str:
        verdict = "agrees" if self.agrees else f"DIFFERS by more than {self.tolerance}"
        return f"{self.name}: {self.score} {self.found:.2f}, published {self.published:.2f}: {verdict}"


def published_models(words: Sequence[str] = ()) -> list[PublishedModel]:
    """The models with published weights, in the order of their metafiles.

    Args:
        words: only those whose names or data sets have all of these, in any case.
    """
    import yaml

    models = []
    for metafile in sorted({f.parent / "metafile.yaml" for f in recipes().values()}):
        entries = (yaml.safe_load(metafile.read_text(encoding="utf-8")) or {}) if metafile.is_file() else {}
        for entry in entries.get("Models", []):
            if entry.get("Weights"):
                results = entry["Results"]
                scores = results["Metrics"]
                models.append(
                    PublishedModel(
                        entry["Name"], results["Dataset"], scores["mIoU"], scores.get("mIoU(ms+flip)"), entry["Weights"]
                    )
                )
    texts = [f"{model.name} {model.dataset}".lower() for model in models]
    return [m for m, text in zip(models, texts, strict=True) if all(word.lower() in text for word in words)]


def published_weights(recipe: str) -> str | None:
    """The URL of the published weights of a packaged recipe, or None when there are none."""
    return next((model.weights for model in published_models() if model.name == recipe), None)


def table(models: Sequence[PublishedModel]) -> str:
    """Models with their scores, one a line."""
    width = max((len(model.name) for model in models), default=0)
    lines = [f"{'model':{width}}   mIoU  ms+flip"]
    for model in models:
        tta = "" if model.miou_tta is None else f"{model.miou_tta:.2f}"
        lines.append(f"{model.name:{width}}  {model.miou:.2f}    {tta}".rstrip())
    return "\n".join(lines)


def download_models(names: Sequence[str], folder: str | os.PathLike | None = None) -> list[Path]:
    """Fetch the weights of published models and of backbones, those that are not there yet.

    The start of the sha256 in each file's name is checked; a download that was cut off is continued.

    Args:
        names: models, or parts of their names, or ``"all"``; or what a config may give as ``pretrained``, such as
            ``"open-mmlab://resnet50_v1c"``, or a URL.
        folder: where they are to lie; by default the weights folder, where ``gcseg`` finds them by itself.

    Returns:
        The files, in the order of the names.

    Raises:
        ConfigError: a name that fits no model.
        WeightsNotFoundError, CheckpointError: the network or the file fails.
    """
    from gcseg.engine.weights import resolve_url

    urls = dict.fromkeys(url for name in names for url in _urls(name))
    return [resolve_url(url, folder=folder) for url in urls]


def verify_model(
    name: str,
    data: str | os.PathLike | None = None,
    tta: bool = False,
    amp: bool = False,
    tolerance: float = 0.1,
    work_dir: str | os.PathLike | None = None,
    cfg_options: dict[str, Any] | None = None,
) -> Verification:
    """Evaluate a published model on its data set, and compare with the published score.

    Args:
        name: of the model.
        data: folder of the data set, the ``data_root`` of the test data; by default as the recipe says.
        tta: multi-scale and flip.
        amp: compute in half precision.
        tolerance: how far the two scores may lie apart, in points.
        work_dir: logs and results; ``./work_dirs/<name of the config>`` by default.
        cfg_options: overrides with dotted keys.

    Raises:
        ConfigError: no such model, or its score with ``tta`` is not published.
        GcsegError: the weights or the data cannot be used.
    """
    from gcseg.apis.test import test
    from gcseg.config_values import innermost_datasets

    found = [model for model in published_models() if model.name == name]
    if not found:
        raise ConfigError(unknown_name_message("published model", name, [m.name for m in published_models()]))
    model, score = found[0], "mIoU(ms+flip)" if tta else "mIoU"
    published = model.miou_tta if tta else model.miou
    if published is None:
        raise ConfigError(f"{name}: no result with multiple scales and flipping is published; leave out --tta")
    cfg = load_config(name, cfg_options)
    if data is not None:
        for _, dataset in innermost_datasets(cfg, ("test_dataloader",)):
            dataset["data_root"] = os.path.expanduser(data)
    metrics = test(cfg, model.weights, work_dir=work_dir, tta=tta, amp=amp)
    return Verification(name, score, published, float(metrics["mIoU"]), tolerance)


def _urls(name: str) -> list[str]:
    from gcseg.engine.weights import hub_url

    scheme, separator, rest = name.partition("://")
    if not separator:
        return [model.weights for model in _find(name)]
    return [name if scheme in ("http", "https") else hub_url(scheme, rest)]


def _find(name: str) -> list[PublishedModel]:
    models = published_models()
    exact = [model for model in models if model.name == name]
    found = exact or [model for model in models if name == "all" or name in model.name]
    if not found:
        raise ConfigError(unknown_name_message("published model", name, [m.name for m in models]))
    return found
