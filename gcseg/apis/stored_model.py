"""The config of a model as JSON: written from whatever a config holds, and read without importing or running anything.

mmengine builds a ``type`` with dots that is not registered by importing it, whatever it is, and other keys fetch files.
So what comes from outside is looked through first: every ``type`` is registered, and no key names a file.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gcseg.utils.errors import ConfigError
from gcseg.utils.names import unknown_name_message
from gcseg.utils.signatures import shortened

if TYPE_CHECKING:
    from mmengine.registry import Registry

_REGISTRY_OF_KEY = {"test_pipeline": "TRANSFORMS", "init_cfg": "WEIGHT_INITIALIZERS", "sampler": "TASK_UTILS"}
_PRETRAINED = "Pretrained"
# Each makes mmengine import a module or read a file.
_REFUSED_KEYS = ("_scope_", "_base_", "_delete_", "custom_imports", "pretrained")
# Whose classes may stand in mmengine's own registries; in gcseg's there is what was put there on purpose.
_KNOWN_PACKAGES = ("mmengine", "mmcv", "torch")


def without_pretrained(node: Any) -> Any:
    """A copy of a model's config that asks for no weights: no ``pretrained``, no ``init_cfg`` of type Pretrained."""
    if isinstance(node, Mapping):
        kept = {key: value for key, value in node.items() if key != "pretrained"}
        if "init_cfg" in kept:
            kept["init_cfg"] = _other_initialisations(kept["init_cfg"])
            if not kept["init_cfg"]:
                del kept["init_cfg"]
        return {key: without_pretrained(value) for key, value in kept.items()}
    if isinstance(node, list | tuple):
        return type(node)(without_pretrained(value) for value in node)
    return node


def _other_initialisations(init_cfg: Any) -> Any:
    if isinstance(init_cfg, list | tuple):
        return [entry for entry in init_cfg if _other_initialisations(entry)]
    return None if isinstance(init_cfg, Mapping) and is_pretrained(init_cfg) else init_cfg


def is_pretrained(init_cfg: Mapping[str, Any]) -> bool:
    """Whether an initialisation is the loading of weights; ``type`` may be the name or the class."""
    kind = init_cfg.get("type")
    return getattr(kind, "__name__", kind) in (_PRETRAINED, "PretrainedInit")


def to_json(node: Any, where: str) -> Any:
    """What a config holds, in the kinds that JSON has.

    Args:
        node: dictionaries, lists, numbers and strings; classes, which become the names they are registered under;
            files of class weights, which become the weights.
        where: the place of ``node``, for errors.

    Raises:
        ConfigError: something that is no part of a config, such as a module.
    """
    if isinstance(node, float) and not math.isfinite(node):
        raise ConfigError(f"{where} is {node}, which JSON has no number for; give another value, or leave it out")
    if node is None or isinstance(node, bool | int | float | str):
        return node
    if isinstance(node, Mapping):
        return {str(k): _value_to_json(k, v, f"{where}.{k}") for k, v in node.items() if k != "_scope_"}
    if isinstance(node, list | tuple):
        return [to_json(value, f"{where}[{i}]") for i, value in enumerate(node)]
    if hasattr(node, "tolist"):  # numbers and arrays of numpy
        return node.tolist()
    kind = type(node).__name__
    raise ConfigError(
        f"{where} is a finished {kind}, which a config.json cannot describe. Register its class "
        "(gcseg.registry.MODELS.register_module()) and give dict(type=..., ...) in its place; or keep the code that "
        "makes the model, and save its weights alone by torch.save(model.state_dict(), file)"
    )


def _value_to_json(key: Any, value: Any, where: str) -> Any:
    if key == "type" and callable(value):
        return _registered_name(value, where)
    if key == "class_weight" and isinstance(value, str | os.PathLike):
        from gcseg.models.losses.utils import get_class_weight

        return get_class_weight(os.fspath(value))
    return to_json(value, where)


def _registered_name(value: Any, where: str) -> str:
    from gcseg import registry

    for name in ("MODELS", *_REGISTRY_OF_KEY.values()):
        for registered, found in _entries(getattr(registry, name)).items():
            if found is value:
                return registered
    raise ConfigError(f"{where}: {value!r} is not registered with gcseg, so that no config.json can name it")


def check_stored(node: Any, where: str, registry_name: str = "MODELS") -> None:
    """Refuse what would import, fetch or run something while it is built.

    Args:
        node: a config, or a part of one, as read from JSON.
        where: its place, for errors; a key such as ``test_pipeline`` says what may stand in it.
        registry_name: which registry of :mod:`gcseg.registry` must have the types.

    Raises:
        ConfigError: a ``type`` that is not registered, a key that imports modules, or one that reads files.
    """
    if isinstance(node, list):
        for i, value in enumerate(node):
            check_stored(value, f"{where}[{i}]", registry_name)
    if not isinstance(node, dict):
        return
    for key in _REFUSED_KEYS:
        if key in node:
            raise ConfigError(f"{where}.{key}: refused, because it would import modules or read files; remove it")
    if isinstance(node.get("class_weight"), str):
        raise ConfigError(f"{where}.class_weight: refused, because it names a file; give the numbers")
    if "type" in node:
        _check_type(node["type"], registry_name, where)
    for key, value in node.items():
        check_stored(value, f"{where}.{key}", _REGISTRY_OF_KEY.get(key, registry_name))


def _check_type(kind: Any, registry_name: str, where: str) -> None:
    from gcseg import registry

    known = _entries(getattr(registry, registry_name))
    if isinstance(kind, str) and kind in known and kind != _PRETRAINED:
        return
    raise ConfigError(
        f"{where}: "
        + unknown_name_message(
            f"type in {registry_name.lower()}",
            kind if isinstance(kind, str) else shortened(kind),
            set(known) - {_PRETRAINED},
            "Only registered parts are built from a file. A part of your own: import the module that registers it "
            "with gcseg.registry before you load.",
        )
    )


def _entries(registry: Registry) -> dict[str, Any]:
    """Name -> class of a registry of gcseg, and of mmengine's registry above it those from known packages."""
    import mmcv.cnn  # noqa: F401  (registers layers)

    registry.import_from_location()
    found: dict[str, Any] = {}
    if registry.parent is not None:
        parts = registry.parent.module_dict.items()
        found = {k: v for k, v in parts if getattr(v, "__module__", "").partition(".")[0] in _KNOWN_PACKAGES}
    return {**found, **registry.module_dict}
