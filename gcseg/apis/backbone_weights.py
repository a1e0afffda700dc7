"""The weights that a new model's backbone starts from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from gcseg.apis.stored_model import is_pretrained, without_pretrained
from gcseg.utils.errors import CheckpointError, ConfigError, WeightsNotFoundError
from gcseg.utils.signatures import shortened

_IMAGENET = {"ResNet": "torchvision://resnet{}", "ResNetV1c": "open-mmlab://resnet{}_v1c"}
_CLASSIFIERS = ("fc.", "head.", "classifier.")  # what ImageNet's weights have beside a backbone


def take_weights(model: dict, pretrained: bool | str | os.PathLike | None, is_own: bool) -> str | None:
    """Take out of a model's config which weights it wants.

    Args:
        model: changed in place.
        pretrained: see :func:`gcseg.create_model`.
        is_own: the backbone is the caller's, who expects the weights that it names.

    Returns:
        Which weights to load, None for none.

    Raises:
        ConfigError: the request cannot be met.
        WeightsNotFoundError: no weights are published for this backbone.
    """
    backbone = model["backbone"]
    named = model.get("pretrained")
    if isinstance(backbone, Mapping):
        entries = backbone.get("init_cfg") or []
        entries = [entries] if isinstance(entries, Mapping) else entries
        candidates = [backbone.get("pretrained"), *(e.get("checkpoint") for e in entries if is_pretrained(e))]
        named = next(filter(None, [named, *candidates]), None)
    model.pop("pretrained", None)
    model.update(without_pretrained(model))
    if not pretrained:
        if named and is_own:
            raise ConfigError(f"create_model: the backbone names weights, {named}; pretrained=True loads them")
        return None
    if not isinstance(backbone, Mapping):
        raise ConfigError(
            f"create_model: pretrained={pretrained!r}, but the backbone is a finished {type(backbone).__name__}; give "
            "it weights where it is made"
        )
    if pretrained is True:
        return named or _imagenet(backbone)
    if not isinstance(pretrained, str | os.PathLike):
        raise ConfigError(f"create_model: pretrained={shortened(pretrained)}; give True, a file, a URL or a name")
    return os.fspath(pretrained)


def _imagenet(backbone: Mapping[str, Any]) -> str:
    from gcseg.engine.weights import hub_url

    kind, depth = backbone.get("type"), backbone.get("depth")
    kind = getattr(kind, "__name__", kind)
    source = _IMAGENET.get(str(kind), "none://").format(depth)
    hub, _, name = source.partition("://")
    try:
        hub_url(hub, name)
    except (KeyError, WeightsNotFoundError):
        raise WeightsNotFoundError(
            f"create_model: pretrained=True, but no ImageNet weights are known for {kind} of depth {depth}. There are "
            "some for ResNetV1c of depth 18, 50 and 101, and for dict(type='ResNet', depth=...) of every depth. Give "
            "pretrained=FILE, or leave it out for random weights"
        ) from None
    return source


def load_backbone(backbone: nn.Module, config: Mapping[str, Any], source: str) -> None:
    """Load weights into a backbone, those of its first convolution adapted to the channels of its images.

    Args:
        backbone: all of its tensors must be in ``source``, and all of those in it, but for the blocks that ``plugins``
            insert, which keep their values.
        config: what it was built from.
        source: as for ``load_checkpoint_file``: a file of a backbone, of a classifier, or of a whole segmentor.

    Raises:
        CheckpointError, WeightsNotFoundError: the weights cannot be used.
    """
    from mmengine.logging import print_log

    from gcseg.engine.checkpoint import load_checkpoint_file
    from gcseg.engine.pretrained_init import for_its_images
    from gcseg.engine.state_dict import STRIP_MODULE, load_into_model, revise
    from gcseg.registry import MODELS, SCOPE

    with torch.device("meta"):
        bare = MODELS.build({**{k: v for k, v in config.items() if k != "plugins"}, "_scope_": SCOPE}).state_dict()
    weights = revise(load_checkpoint_file(source)["state_dict"], STRIP_MODULE, source)
    inside = {k.removeprefix("backbone."): v for k, v in weights.items() if k.startswith("backbone.")}
    weights = inside or {k: v for k, v in weights.items() if not k.startswith(_CLASSIFIERS)}
    report = load_into_model(backbone, for_its_images(weights, backbone, source), name=source)
    if report.mismatched or report.unexpected or any(name in bare for name in report.missing):
        raise CheckpointError(f"{source}: these are the weights of another backbone: {report}")
    if report.missing:
        print_log(f"{source}: {report}", logger="current")
