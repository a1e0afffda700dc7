"""A segmentor in one line: by the name of an architecture, from a recipe, or from pieces."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from gcseg.apis.backbone_weights import load_backbone, take_weights
from gcseg.apis.images import find_test_pipeline
from gcseg.apis.inference import build_model, complete_dataset_meta
from gcseg.apis.pieces import (
    BACKBONES,
    HEADS,
    complete_heads,
    heads_of,
    model_of_pieces,
    set_classes,
    set_image_channels,
    set_normalisation,
)
from gcseg.config import find_config, load_config, recipes
from gcseg.utils.errors import ConfigError
from gcseg.utils.names import unknown_name_message
from gcseg.utils.signatures import shortened

if TYPE_CHECKING:
    from mmengine.config import Config

_FROM_BGR = (0.114, 0.587, 0.299)  # weights of a grey value, blue first as photographs are loaded


def list_models(pattern: str = "*") -> list[str]:
    """The architectures that :func:`create_model` knows by name: head, backbone, and after ``d`` the output stride.

    Args:
        pattern: such as ``"gcnet*"``: only names that match it.
    """
    return fnmatch.filter([f"{head}_{backbone}" for head in HEADS for backbone in BACKBONES], pattern)


def create_model(
    name: str | os.PathLike | Config | None = None,
    *,
    num_classes: int | None = None,
    classes: str | Sequence[str] | None = None,
    backbone: str | Mapping[str, Any] | nn.Module | None = None,
    head: str | Mapping[str, Any] | nn.Module | None = None,
    auxiliary: bool | None = None,
    in_channels: int | None = None,
    pretrained: bool | str | os.PathLike | None = None,
    mean: Sequence[float] | str | None = "auto",
    std: Sequence[float] | str | None = "auto",
) -> nn.Module:
    """Make a segmentor: an ordinary ``nn.Module``, in training mode.

    ``model(images)`` gives logits (N, classes, h, w) at the resolution of the features, ``model.predict(images)``
    samples whose ``pred_sem_seg.data`` (1, H, W) has the size of the images. Both take normalised images (N,
    in_channels, H, W) floating. ``inference_model`` and ``SegInferencer`` take photographs and normalise them by
    ``model.data_preprocessor``.

    Args:
        name: of an architecture (:func:`list_models`); or a packaged recipe, a config file or a ``Config``, whose model
            is taken. Or instead of it ``backbone`` and ``head``.
        num_classes: of all heads; by default as many as ``classes``, or the recipe's. 1 is foreground and background
            told apart by one score per pixel: where its sigmoid is above 0.5 is class 1.
        classes: names of the classes, or a data set that has them, such as ``"cityscapes"``; otherwise they are the
            recipe's, if the number is the same, or are numbered.
        backbone: such as ``"r50-d8"``; or a config, ``dict(type="ResNetV1c", depth=50, ...)``; or a module, from images
            to a feature map (N, C, H, W) or a list, tuple or dict of them. A module keeps its weights.
        head: such as ``"gc"``; or a config, in which ``in_channels``, ``channels`` (a quarter of them, as in the
            recipes) and ``norm_cfg`` may be left out; or a head.
        auxiliary: whether there is an auxiliary head, which helps in training. By default names have one, as the
            recipes do; pieces have none.
        in_channels: of the images; 3 by default, or the recipe's.
        pretrained: weights of the backbone: True is the recipe's or ImageNet's; or a file, a URL, or a name as in
            configs. Weights for 3 channels are adapted by :func:`~gcseg.engine.pretrained_init.spread_channels`.
            By default all weights are random.
        mean: of each channel, in the values that the images have; None, with ``std=None``: no normalisation.
            ``"auto"``: the recipe's or ImageNet's, repeated for more channels than 3, averaged for fewer.
        std: likewise.

    Returns:
        An ``EncoderDecoder`` on torch's default device, initialised, with ``cfg`` and ``dataset_meta``. For 1 and 3
        channels ``cfg`` says how a photograph is prepared; for others set ``model.cfg.test_pipeline`` to your own.

    Raises:
        ConfigError: an unknown name, or pieces that do not fit each other.
        DataError: ``classes`` is a data set that is not known.
        CheckpointError, WeightsNotFoundError: the weights cannot be used, or none are known.
    """
    from mmengine.config import Config

    from gcseg.config_check import check_config

    by_name = name is not None
    if by_name == (backbone is not None or head is not None) or (backbone is None) != (head is None):
        raise ConfigError(
            "create_model: give a name such as 'gcnet_r50-d8' (gcseg.list_models() has them), or both backbone=... and "
            "head=..."
        )
    if isinstance(name, str) and name in list_models():
        head, backbone = name.split("_")
        name = None
    recipe = None if name is None else load_config(_find(name))
    if recipe is None:
        model = model_of_pieces(backbone, head)
    else:
        model = _model_of_recipe(recipe, auxiliary, num_classes is not None or classes is not None, in_channels)
    weights = take_weights(model, pretrained, is_own=not by_name)
    channels = set_image_channels(model, in_channels)
    set_normalisation(model, channels, mean, std)
    names = set_classes(model, num_classes, classes)
    if recipe is None:
        complete_heads(model, channels, auxiliary=by_name if auxiliary is None else auxiliary)
    pipeline = _test_pipeline(recipe, channels)
    cfg = Config({"model": model, **({"test_pipeline": pipeline} if pipeline else {})})
    check_config(cfg)
    # torch 2.4's get_default_device() does not see `with torch.device(...)`.
    built = build_model(cfg, None, torch.empty(0).device, "")
    built.dataset_meta = complete_dataset_meta(names, recipe or cfg, built)
    _initialise(built, weights, finished=[part for part in model.values() if isinstance(part, nn.Module)])
    return built.train()


def _find(name: Any) -> Any:
    """What ``load_config`` takes, or an error with the nearest names of architectures and recipes."""
    from mmengine.config import Config

    if not isinstance(name, str | os.PathLike | Config):
        raise ConfigError(f"create_model: the name is {shortened(name)}; give a str, a path or a Config")
    if not isinstance(name, str) or os.sep in name or name.endswith(".py"):
        return name
    try:
        return find_config(name)
    except (ConfigError, OSError):
        message = unknown_name_message(
            "model", name, [*list_models(), *recipes()], "A config file is given by its path."
        )
        raise ConfigError(f"create_model: {message}") from None


def _model_of_recipe(
    recipe: Config, auxiliary: bool | None, other_classes: bool, in_channels: int | None
) -> dict[str, Any]:
    """A copy of the recipe's model without what is asked for anew."""
    if recipe.get("model") is None:
        raise ConfigError(f"create_model: no `model` in {recipe.filename or 'the config'}")
    model = recipe.model.to_dict()
    if auxiliary is False:
        model.pop("auxiliary_head", None)
    if auxiliary and model.get("auxiliary_head") is None:
        raise ConfigError(f"create_model: auxiliary=True, but {recipe.filename or 'the config'} has no auxiliary head")
    for head in heads_of(model):
        for key in ("num_classes", "out_channels", "threshold") if other_classes else ():
            head.pop(key, None)
    if in_channels is not None:
        model["backbone"].pop("in_channels", None)
    return model


def _test_pipeline(recipe: Config | None, channels: int) -> list[dict]:
    """How a photograph becomes an input of so many channels; empty where that cannot be said."""
    own_channels = 3
    pipeline = [{"type": "LoadImageFromFile"}, {"type": "PackSegInputs"}]
    if recipe is not None:
        own_channels = recipe.model.backbone.get("in_channels", 3)
        try:
            pipeline = find_test_pipeline(recipe)
        except ConfigError:
            return []
    if channels == 1 != own_channels:
        return [*pipeline[:-1], {"type": "RGB2Gray", "out_channels": 1, "weights": _FROM_BGR}, pipeline[-1]]
    return pipeline if channels == own_channels else []


def _initialise(model: Any, weights: str | None, finished: Sequence[nn.Module]) -> None:
    if any(p.is_meta for p in model.parameters()):
        if weights is not None:
            raise ConfigError(f"create_model: weights, {weights}, cannot be loaded onto the device meta")
        return
    for part in finished:
        part.is_init = True  # type: ignore[assignment]  # otherwise mmengine draws the weights of many a backbone anew
    model.init_weights()
    if weights is not None:
        load_backbone(model.backbone, model.cfg.model.backbone, weights)
