"""Errors that the parts of a config raise while they are built, told as errors of the config."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from traceback import walk_tb
from types import TracebackType
from typing import Any

from gcseg.config_check import KNOWN_TOP_LEVEL
from gcseg.utils.errors import ConfigError, GcsegError
from gcseg.utils.signatures import shortened

_BUILDERS = ("mmengine", "mmcv")
# Other top-level keys are variables of the file.
_SECTIONS = {key for key in KNOWN_TOP_LEVEL if not key.endswith("_pipeline")}


@contextmanager
def built_from(cfg: Mapping[str, Any]) -> Iterator[None]:
    """Name the place in ``cfg`` of a part that cannot be built, and what the part was given.

    mmengine builds most parts when they are first needed, inside ``runner.train()``. So a whole run may stand in this
    context: an error is the config's only if it comes out of one of mmengine's or mmcv's ``build`` functions, or of the
    runner's constructor. Any other passes unchanged.

    Args:
        cfg: what the parts are built from: a config, or a dict of some of its sections.

    Raises:
        ConfigError: a part cannot be built; the cause is the error of its constructor.
    """
    try:
        yield
    except ConfigError as e:
        where, _ = _failed(cfg, e.__traceback__)
        if where in str(e):
            raise
        raise ConfigError(f"{where}: {e}") from e
    except GcsegError:
        raise
    except Exception as e:
        where, part = _failed(cfg, e.__traceback__)
        if not where:
            raise
        raise ConfigError(_message(where, part, e)) from e


def _failed(cfg: Mapping[str, Any], traceback: TracebackType | None) -> tuple[str, dict]:
    """Place and content of the innermost part of ``cfg`` that was being built; empty when nothing was."""
    frames = [f for f, _ in walk_tb(traceback) if f.f_globals.get("__name__", "").split(".")[0] in _BUILDERS]
    built = []
    for frame in frames:
        code = frame.f_code
        if code.co_name.lstrip("_").startswith("build"):
            given = (frame.f_locals.get(name) for name in code.co_varnames[: code.co_argcount])
            built += [value for value in given if isinstance(value, dict)][:1]  # the others are handed in by code
    for part in reversed(built):
        where, node = _find(cfg, part)
        if where:
            return where, node
    if built:
        return "the config", built[-1]
    if any(frame.f_code.co_name == "from_cfg" for frame in frames):
        return "the config", {"type": "Runner", **{key: cfg[key] for key in cfg.keys() if key in _SECTIONS}}  # noqa: SIM118
    return "", {}


def _find(cfg: Mapping[str, Any], built: dict) -> tuple[str, dict]:
    """The largest dict in ``cfg`` that ``built`` has all of, and its place.

    ``built`` may have got more on its way, and have objects where the config has the dicts they were built from.
    """
    # Compared by their text, because the values are copies, and may be arrays.
    texts = {key: repr(value) for key, value in built.items()}

    def has(key: str, value: Any) -> bool:
        built_already = isinstance(value, dict) and key in built and not isinstance(built[key], dict)
        return built_already or texts.get(key) == repr(value)

    sections = (key for key in cfg.keys() if key in _SECTIONS)  # noqa: SIM118 (a Config)
    nodes = (found for key in sections for found in _nodes(key, cfg[key]))
    alike = (found for found in nodes if all(has(k, v) for k, v in found[1].items()))
    return max(alike, key=lambda found: len(found[1]), default=("", {}))


def _nodes(where: str, node: Any) -> Iterator[tuple[str, dict]]:
    """The dicts that are not empty in a config, each before those inside it."""
    if isinstance(node, dict) and node:
        yield where, node
        for key, value in node.items():
            yield from _nodes(f"{where}.{key}", value)
    elif isinstance(node, list | tuple):
        for i, value in enumerate(node):
            yield from _nodes(f"{where}[{i}]", value)


def _message(where: str, part: dict, error: Exception) -> str:
    kind = part.get("type")
    if kind is None and isinstance(error, KeyError) and '"type"' in str(error):
        return f"{where}: no `type`, the class to build; received {shortened(part)}."
    text = str(error)
    text = text if len(text) <= 400 else f"{text[:396]} ..."
    given = {key: value for key, value in part.items() if key != "type" and not _has_parts(value)}
    spoken_of = {key: value for key, value in given.items() if re.search(rf"\b{re.escape(key)}\b", text)}
    values = ", ".join(f"{key}={shortened(value, 40)}" for key, value in (spoken_of or given).items())
    name = f"{getattr(kind, '__name__', kind)} " if kind is not None else ""
    return (
        f"{where}: {name}cannot be built{' from ' if values else ''}{values}: {type(error).__name__}: {text}. "
        "Mend the value it speaks of; GCSEG_TRACEBACK=1 in the environment shows where it was raised."
    )


def _has_parts(value: Any) -> bool:
    if isinstance(value, dict):
        return "type" in value or any(map(_has_parts, value.values()))
    return isinstance(value, list | tuple) and any(map(_has_parts, value))
