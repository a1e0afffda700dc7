"""A config as it is after inheritance, overrides and translation."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gcseg.config import load_config
from gcseg.utils.errors import ConfigError
from gcseg.utils.writable import writing

if TYPE_CHECKING:
    from mmengine.config import Config

_SUFFIXES = (".py", ".json", ".yaml", ".yml")


def config_text(
    config: str | os.PathLike | Config,
    cfg_options: dict[str, Any] | None = None,
    save_path: str | os.PathLike | None = None,
    graph: bool = False,
) -> str:
    """Everything a config says, as one text.

    Args:
        config: a path, the name of a packaged recipe, or a ``Config``.
        cfg_options: overrides with dotted keys.
        save_path: also write the config here; the file can be used as a config. Its suffix (.py, .json, .yaml) says
            how.
        graph: append the modules of the model.

    Raises:
        ConfigError: the config cannot work, or the file has another suffix, is the config itself or cannot be written.
    """
    target = None if save_path is None else Path(save_path).expanduser()
    if target is not None and target.suffix not in _SUFFIXES:
        raise ConfigError(
            f"{target}: a config is written as {', '.join(_SUFFIXES)}; give the file one of these suffixes"
        )
    cfg = load_config(config, cfg_options)
    text = cfg.pretty_text
    if target is not None:
        if target.exists() and cfg.filename and target.samefile(cfg.filename):
            raise ConfigError(f"{target}: is the config itself, which would be overwritten; name another file")
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            cfg.dump(target)
    if graph:
        from gcseg.apis.inference import init_model

        text += f"\n{init_model(cfg, device='cpu')}\n"
    return text
