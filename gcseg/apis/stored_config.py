"""The config that a checkpoint carries as text, read without running it."""

from __future__ import annotations

import ast
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gcseg.config import load_config, translate_scope
from gcseg.utils.errors import ConfigError
from gcseg.utils.signatures import shortened

if TYPE_CHECKING:
    from mmengine.config import Config

# What mmengine looks up by name; a name with dots it imports.
_TYPE_KEYS = ("type", "constructor", "runner_type", "ema_type")
_OF_THE_RUN = ("work_dir", "load_from", "resume")
_KNOWN_PACKAGES = ("gcseg", "mmengine", "mmcv", "torch")


def config_of_checkpoint(
    checkpoint: Mapping[str, Any], name: str | os.PathLike, cfg_options: dict[str, Any] | None = None
) -> Config:
    """The config that a checkpoint carries, checked; what it names is registered, and nothing of it is imported.

    Where its run wrote, and what that began with, is left out.

    Args:
        checkpoint: what ``load_checkpoint_file`` returns.
        name: what to call it in errors.
        cfg_options: overrides with dotted keys.

    Raises:
        ConfigError: it carries none, or one that is refused or cannot work.
    """
    text = checkpoint.get("meta", {}).get("cfg")
    if not isinstance(text, str):
        raise ConfigError(f"{name}: carries no config (only mmengine's checkpoints do); give the config as well")
    stored = parse_config_text(text, f"the config in {name}")
    for key in _OF_THE_RUN:
        stored.pop(key, None)
    translate_scope(stored)
    for key in stored.keys():  # noqa: SIM118 (a Config)
        _refuse_unregistered({key: stored[key]}, "", f"the config in {name}")
    try:
        return load_config(stored, cfg_options)
    except ConfigError as e:
        if not stored.get("custom_imports"):
            raise
        raise ConfigError(
            f"{e} The config in {name} has custom_imports={shortened(stored.custom_imports)}, and nothing that "
            "comes with a checkpoint is run: give the config file and the checkpoint as weights, or import the "
            "modules before"
        ) from e


def _refuse_unregistered(node: Any, where: str, name: str) -> None:
    if isinstance(node, list | tuple):
        for i, value in enumerate(node):
            _refuse_unregistered(value, f"{where}[{i}]", name)
    elif isinstance(node, dict):
        for key, value in node.items():
            place = f"{where}.{key}".lstrip(".")
            if key in _TYPE_KEYS and isinstance(value, str) and "." in value and not _is_registered(value):
                raise ConfigError(
                    f"{name}: {place}={shortened(value)}: refused, because it would be imported and run, and is not "
                    "registered with gcseg. If you trust it, give the config as a file"
                )
            _refuse_unregistered(value, place, name)


def _is_registered(path: str) -> bool:
    """Whether a name with dots, as configs with imports have it, leads to what a config can name without."""
    package, _, rest = path.partition(".")
    if package not in _KNOWN_PACKAGES:
        return False
    from mmengine.registry import Registry
    from mmengine.utils import get_object_from_string

    from gcseg import registry

    nodes: list[Registry | None] = [each for each in vars(registry).values() if isinstance(each, Registry)]
    found = get_object_from_string(path)
    for node in nodes:
        if node is not None:
            node.import_from_location()
            if found in node.module_dict.values() or (package == "mmengine" and rest in node.module_dict):
                return True
            nodes.append(node.parent)
    return False


def parse_config_text(text: str, name: str = "the checkpoint's config") -> Config:
    """Read ``key = value`` lines whose values are literals or ``dict(...)`` of literals: what mmengine writes.

    Args:
        text: Python source as ``Config.pretty_text`` makes it.
        name: what to call it in errors.

    Returns:
        A ``Config``.

    Raises:
        ConfigError: it holds anything else; it is not run.
    """
    from mmengine.config import Config

    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError) as e:
        raise ConfigError(f"{name}: cannot be read ({e}); give the config as a file") from None
    content = {}
    for node in body:
        target = node.targets[0] if isinstance(node, ast.Assign) and len(node.targets) == 1 else None
        if not isinstance(node, ast.Assign) or not isinstance(target, ast.Name):
            raise ConfigError(
                f"{name}: line {node.lineno} is no plain `key = value`, and text from a checkpoint is not run; "
                "give the config as a file"
            )
        try:
            content[target.id] = _value(node.value, name)
        except RecursionError:
            raise ConfigError(f"{name}: line {node.lineno} is nested too deeply; give the config as a file") from None
    try:
        return Config(content)
    except (KeyError, TypeError, ValueError) as e:
        raise ConfigError(f"{name}: is no config ({e}); give the config as a file") from e


def _value(node: ast.expr, name: str) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict" and not node.args:
        if all(k.arg is not None for k in node.keywords):
            return {str(k.arg): _value(k.value, name) for k in node.keywords}
    elif isinstance(node, ast.Dict) and None not in node.keys:
        keys = [_value(k, name) for k in node.keys if k is not None]
        with suppress(TypeError):  # a key that cannot be one
            return dict(zip(keys, (_value(v, name) for v in node.values), strict=True))
    elif isinstance(node, ast.List):
        return [_value(e, name) for e in node.elts]
    elif isinstance(node, ast.Tuple):
        return tuple(_value(e, name) for e in node.elts)
    elif isinstance(node, ast.Name) and node.id in ("inf", "nan"):
        return float(node.id)
    else:
        try:
            return ast.literal_eval(node)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            pass
    raise ConfigError(
        f"{name}: line {node.lineno} holds `{ast.unparse(node)[:60]}`, which is no literal, and text from a "
        "checkpoint is not run; give the config as a file"
    )
