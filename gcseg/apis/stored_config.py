"""The config that a checkpoint carries as text, read without running it."""

from __future__ import annotations

import ast
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gcseg.utils.errors import ConfigError

if TYPE_CHECKING:
    from mmengine.config import Config


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
