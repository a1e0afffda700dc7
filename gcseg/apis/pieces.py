"""From pieces to the config of a model: what a caller leaves out is derived."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from gcseg.config_build import built_from
from gcseg.utils.errors import ConfigError
from gcseg.utils.names import unknown_name_message
from gcseg.utils.signatures import shortened

HEADS = {
    "fcn": "FCNHead",
    "gcnet": "GCHead",
    "nlnet": "NLHead",
    "snlnet": "SNLHead",
    "senet": "SEHead",
    "dnlnet": "DNLHead",
}
# Output stride -> strides and dilations of the four stages.
_STAGES = {8: ((1, 2, 1, 1), (1, 1, 2, 4)), 16: ((1, 2, 2, 1), (1, 1, 1, 2)), 32: ((1, 2, 2, 2), (1, 1, 1, 1))}
BACKBONES = [f"r{depth}-d{stride}" for depth in (18, 34, 50, 101, 152) for stride in _STAGES]
_NORM = {"type": "BN", "requires_grad": True}
# ImageNet's, red first, in grey levels.
_PREPROCESSOR: dict[str, Any] = {
    "type": "SegDataPreProcessor",
    "mean": [123.675, 116.28, 103.53],
    "std": [58.395, 57.12, 57.375],
    "bgr_to_rgb": True,
}
_AUXILIARY = {
    "type": "FCNHead",
    "num_convs": 1,
    "concat_input": False,
    "loss_decode": {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 0.4},
}
_LEAST_CHANNELS = 16
_PROBE_SIZE = (64, 64)


def model_of_pieces(backbone: Any, head: Any) -> dict[str, Any]:
    """The config of a model from its pieces, in which modules stand as they are.

    Args:
        backbone: see :func:`gcseg.create_model`.
        head: likewise.

    Raises:
        ConfigError: an unknown name, or no head.
    """
    return {
        "type": "EncoderDecoder",
        "data_preprocessor": _PREPROCESSOR,
        "backbone": _backbone(backbone),
        "decode_head": _head(head),
        "test_cfg": {"mode": "whole"},
    }


def _backbone(given: Any) -> Any:
    if isinstance(given, nn.Module):
        return given
    if isinstance(given, Mapping):
        return dict(given)
    if given not in BACKBONES:
        raise ConfigError(f"create_model: {unknown_name_message('backbone', str(given), BACKBONES)}")
    depth, stride = map(int, re.findall(r"\d+", given))
    strides, dilations = _STAGES[stride]
    stages = {"strides": strides, "dilations": dilations, "contract_dilation": True}
    return {"type": "ResNetV1c", "depth": depth, **stages, "norm_cfg": dict(_NORM)}


def _head(given: Any) -> Any:
    if isinstance(given, Mapping):
        return dict(given)
    if isinstance(given, nn.Module):
        lacking = [a for a in ("align_corners", "num_classes", "out_channels", "loss") if not hasattr(given, a)]
        if lacking:
            raise ConfigError(
                f"create_model: the head, a {type(given).__name__}, has no {', '.join(lacking)}; derive it from "
                "gcseg.models.BaseDecodeHead, which has them"
            )
        return given
    kinds = {**HEADS, **{name.removesuffix("net"): kind for name, kind in HEADS.items()}}
    if not isinstance(given, str) or given not in kinds:
        raise ConfigError(f"create_model: {unknown_name_message('head', str(given), kinds)}")
    return {"type": kinds[given]}


def set_image_channels(model: dict, in_channels: int | None) -> int:
    """Write the channels of the images into the backbone of a model's config, and say how many there are."""
    backbone = model["backbone"]
    own = backbone.get("in_channels") if isinstance(backbone, dict) else None
    if in_channels is None:
        return own or 3
    in_channels = _count("in_channels", in_channels)
    if own not in (None, in_channels):
        raise ConfigError(
            f"create_model: in_channels={in_channels}, but the backbone says {own}; leave one of them out"
        )
    if isinstance(backbone, dict) and in_channels != 3:
        backbone["in_channels"] = in_channels
    return in_channels


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ConfigError(f"create_model: {name}={shortened(value)}; allowed are whole numbers from 1")
    return int(value)


def set_normalisation(model: dict, channels: int, mean: Any, std: Any) -> None:
    """Write mean and standard deviation of so many channels into the preprocessor of a model's config."""
    old = model.get("data_preprocessor")
    if old is None and _is_auto(mean) and _is_auto(std):
        return
    old = old or _PREPROCESSOR
    new: dict[str, Any] = {}
    for key, given in (("mean", mean), ("std", std)):
        values = _for_channels(old.get(key), channels) if _is_auto(given) else given
        try:
            new[key] = None if values is None else [float(v) for v in values]
            fits = values is None or (len(values) == channels and (key == "mean" or min(new[key]) > 0))
        except (TypeError, ValueError):
            fits = False
        if not fits:
            raise ConfigError(
                f"create_model: {key}={shortened(values)}; give a {'positive ' * (key == 'std')}number for each of the "
                f"{channels} channels, 'auto', or None for mean and std"
            )
    model["data_preprocessor"] = {**old, **new}


def _is_auto(given: Any) -> bool:
    return isinstance(given, str) and given == "auto"


def _for_channels(values: Sequence[float] | None, channels: int) -> list[float] | None:
    if values is None:
        return None
    if channels < len(values):
        return [sum(values) / len(values)] * channels
    return [values[i % len(values)] for i in range(channels)]


def set_classes(model: dict, num_classes: int | None, classes: str | Sequence[str] | None) -> dict[str, Any]:
    """Write the number of classes into all heads of a model's config.

    Returns:
        ``classes`` and perhaps ``palette``, as far as they are known.

    Raises:
        ConfigError: no number, or numbers that differ.
        DataError: ``classes`` names a data set that is not known.
    """
    found = heads_of(model)
    own = [head.get("num_classes") if isinstance(head, dict) else head.num_classes for head in found]
    names = _names(classes, num_classes)
    if num_classes is None:
        num_classes = len(names["classes"]) if names else own[0]
    if num_classes is None:
        raise ConfigError("create_model: give num_classes, how many with the background, or classes, their names")
    num_classes = _count("num_classes", num_classes)
    labels = max(num_classes, 2)
    if names and len(names["classes"]) != labels:
        raise ConfigError(
            f"create_model: {len(names['classes'])} names in classes for {labels} labels (num_classes={num_classes})"
        )
    for head, count in zip(found, own, strict=True):
        if count not in (None, labels):
            raise ConfigError(
                f"create_model: num_classes={num_classes}, but a head is made for {count}; give both the same number"
            )
        if isinstance(head, dict):
            _set_head_classes(head, num_classes)
    return names


def heads_of(model: Mapping[str, Any]) -> list[Any]:
    """The decode head and the auxiliary heads of a model's config."""
    auxiliary = model.get("auxiliary_head") or []
    return [model["decode_head"], *(auxiliary if isinstance(auxiliary, list | tuple) else [auxiliary])]


def _names(classes: Any, num_classes: int | None) -> dict[str, Any]:
    from gcseg.metainfo import get_metainfo

    if isinstance(classes, str):
        return {**get_metainfo(classes)}
    if classes is None:
        return {"classes": ("background", "foreground")} if num_classes == 1 else {}
    if not isinstance(classes, Sequence) or not all(isinstance(name, str) for name in classes):
        raise ConfigError(f"create_model: classes={shortened(classes)}; give names, or the name of a data set")
    return {"classes": tuple(classes)}


def _set_head_classes(head: dict, num_classes: int) -> None:
    head["num_classes"] = max(num_classes, 2)
    if num_classes == 2:
        head.setdefault("out_channels", 2)  # otherwise the head asks whether one score was meant
    if num_classes == 1:
        head["out_channels"] = 1
        head.setdefault("threshold", 0.5)
        loss = head.get("loss_decode") or {"type": "CrossEntropyLoss"}
        if isinstance(loss, dict) and loss.get("type") == "CrossEntropyLoss":
            head["loss_decode"] = {**loss, "use_sigmoid": True}


def complete_heads(model: dict, image_channels: int, auxiliary: bool) -> None:
    """Derive from the backbone what the heads of :func:`model_of_pieces` leave out.

    Args:
        model: changed in place; its heads have their numbers of classes.
        image_channels: of the images.
        auxiliary: add an auxiliary head on the last feature map but one.

    Raises:
        ConfigError: the backbone fails, or has not the feature maps.
    """
    head = model["decode_head"]
    maps: tuple[int, ...] = ()
    if auxiliary or (isinstance(head, dict) and "in_channels" not in head):
        maps = feature_channels(model["backbone"], image_channels)
    if isinstance(head, dict):
        _complete_head(head, maps, -1)
    if auxiliary:
        options = head if isinstance(head, dict) else vars(head)
        extra = {**_AUXILIARY, **{k: options[k] for k in ("align_corners", "ignore_index") if k in options}}
        _set_head_classes(extra, 1 if options.get("out_channels") == 1 else options["num_classes"])
        _complete_head(extra, maps, -2)
        model["auxiliary_head"] = extra


def _complete_head(head: dict, maps: Sequence[int], index: int) -> None:
    wanted = head.setdefault("in_index", index)
    if "in_channels" not in head:
        try:
            head["in_channels"] = [maps[i] for i in wanted] if isinstance(wanted, list | tuple) else maps[wanted]
        except (IndexError, TypeError):
            raise ConfigError(
                f"create_model: the {head.get('type')} works on feature map {wanted!r}, but the backbone gives "
                f"{len(maps)}; change in_index of the head, or leave an auxiliary head out"
            ) from None
    last = head["in_channels"][-1] if isinstance(head["in_channels"], list | tuple) else head["in_channels"]
    head.setdefault("channels", max(last // 4, _LEAST_CHANNELS))  # 512 after a ResNet-50, 128 after a ResNet-18
    head.setdefault("norm_cfg", dict(_NORM))


def feature_channels(backbone: Mapping[str, Any] | nn.Module, image_channels: int) -> tuple[int, ...]:
    """The channels of each feature map: what the backbone declares, else what it returns for a small image.

    Args:
        backbone: a config, or a module, which is left as it was.
        image_channels: of the small image.

    Raises:
        ConfigError: the backbone fails on it, or returns something else than feature maps.
    """
    from mmengine.config import Config

    from gcseg.config_check import check_names
    from gcseg.registry import MODELS, SCOPE

    if isinstance(backbone, nn.Module):
        return _declared(backbone) or _probed(backbone, image_channels)
    check_names(Config({"model": {"backbone": backbone}}))
    with built_from({"model": {"backbone": backbone}}):
        with torch.device("meta"):
            declared = _declared(MODELS.build({**backbone, "_scope_": SCOPE}))
        return declared or _probed(MODELS.build({**backbone, "_scope_": SCOPE}), image_channels)


def _declared(backbone: nn.Module) -> tuple[int, ...]:
    channels: Any = getattr(backbone, "out_channels", None)
    info: Any = getattr(backbone, "feature_info", None)  # timm's
    if channels is None and hasattr(info, "out_indices"):
        channels = info.channels(sorted(info.out_indices))  # in the order in which it returns the maps
    is_list = isinstance(channels, list | tuple) and all(isinstance(c, int) for c in channels)
    return tuple(channels) if is_list else ()


def _probed(backbone: nn.Module, image_channels: int) -> tuple[int, ...]:
    first = next((p for p in backbone.parameters() if p.is_floating_point()), torch.zeros(0))
    image = torch.zeros(1, image_channels, *_PROBE_SIZE, dtype=first.dtype, device=first.device)
    modes = {module: module.training for module in backbone.modules()}
    try:
        for module in modes:
            module.training = False
        with torch.no_grad():
            maps = backbone(image)
        maps = getattr(maps, "feature_maps", maps)  # transformers'
        maps = [maps] if isinstance(maps, Tensor) else list(maps.values()) if isinstance(maps, Mapping) else maps
        if not isinstance(maps, list | tuple) or not all(isinstance(m, Tensor) and m.ndim == 4 for m in maps):
            shapes = [tuple(m.shape) if isinstance(m, Tensor) else m for m in maps]
            raise TypeError(f"it returned {type(maps).__name__} {shortened(shapes)}")
        if any(m.shape[1] == m.shape[2] != m.shape[3] for m in maps):  # the image is a square
            raise TypeError(f"it returned {[tuple(m.shape) for m in maps]}, which are (N, H, W, C)")
    except Exception as e:  # whatever a foreign module raises
        raise ConfigError(
            f"create_model: the backbone, a {type(backbone).__name__}, was given an image {tuple(image.shape)} to see "
            f"the channels of its feature maps: {type(e).__name__}: {e}. A backbone returns one (N, C, H, W), or a "
            "list, tuple or dict of them: wrap it in a module that does. If only size or channels of this image "
            "do not suit it, give in_channels=..., or declare backbone.out_channels = (C1, C2, ...)"
        ) from e
    finally:
        for module, mode in modes.items():
            module.training = mode
    return tuple(m.shape[1] for m in maps)
