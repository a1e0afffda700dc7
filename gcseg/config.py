"""Finding, reading and translating config files.

A config is a mmengine ``Config``. Three things are added: packaged recipes are found by name from any folder, configs
written for mmsegmentation (``default_scope='mmseg'``, types with the prefix ``mmseg.``) are translated, and the result
is checked before any data or device is touched (:mod:`gcseg.config_check`).
"""

from __future__ import annotations

import copy
import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from numbers import Integral
from pathlib import Path
from traceback import walk_tb
from typing import TYPE_CHECKING, Any

from gcseg.utils.errors import ConfigError
from gcseg.utils.names import nearest
from gcseg.utils.quiet import without_lines
from gcseg.utils.signatures import shortened

if TYPE_CHECKING:
    from mmengine.config import Config

SCOPE = "gcseg"
_FOREIGN_SCOPE = "mmseg"
# Packages whose import registers what a config can name; the registries' locations name the same ones.
_REGISTERING = (
    "gcseg.models.data_preprocessor",
    "gcseg.models.backbones",
    "gcseg.models.decode_heads",
    "gcseg.models.losses",
    "gcseg.models.segmentors",
    "gcseg.datasets.registered",
    "gcseg.datasets.transforms.registered",
    "gcseg.evaluation.metrics",
    "gcseg.visualization.local_visualizer",
    "gcseg.engine.registered",
    "gcseg.engine.hooks",
)
WEIGHTS_SUFFIXES = (".pth", ".pt", ".ckpt", ".safetensors")
_CONFIG_SUFFIXES = (".py", ".json", ".yaml", ".yml")
_SCHEDULE_KEYS = {"train_cfg", "val_cfg", "test_cfg", "optim_wrapper", "param_scheduler"}


def configs_dir() -> Path:
    """The folder of the packaged recipes: beside the package in a checkout, inside it in a wheel.

    Raises:
        FileNotFoundError: neither exists, which means a damaged installation.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / "_base_").is_dir():
            return folder
    raise FileNotFoundError(
        f"gcseg's recipes are neither in {package / 'configs'} nor in {package.parent / 'configs'}; install gcseg again"
    )


def recipes() -> dict[str, Path]:
    """All packaged recipes: name without ``.py`` -> file, sorted by name."""
    root = configs_dir()
    files = (f for f in root.rglob("*.py") if "_base_" not in f.relative_to(root).parts)
    return {f.stem: f for f in sorted(files, key=lambda f: f.stem)}


def is_checkpoint(name: str | os.PathLike) -> bool:
    """Whether what stands for a config is a checkpoint: by its suffix, or a file of none that configs have."""
    path = Path(name)
    suffix = path.suffix.lower()
    return suffix in WEIGHTS_SUFFIXES or (suffix not in _CONFIG_SUFFIXES and path.is_file())


def find_config(name_or_path: str | os.PathLike) -> Path:
    """A file on disk, or a packaged recipe by name (with or without ``.py``, with or without its folder).

    Raises:
        ConfigError: nothing of that name (the message has the nearest names of recipes and of a file beside it), or the
            name of a checkpoint.
    """
    path = Path(name_or_path).expanduser()
    if path.suffix.lower() in WEIGHTS_SUFFIXES:
        raise ConfigError(f"{name_or_path} is a checkpoint by its name; the config comes first, then the checkpoint")
    if path.is_file():
        return path
    known = recipes()
    stem = path.name.removesuffix(".py")
    is_bare_name = path.parent in (Path("."), *(Path(f.parent.name) for f in known.values()))
    packaged_path = path.parts[:1] == ("configs",)
    if stem in known and (is_bare_name or packaged_path):
        return known[stem]
    files = nearest(path.name, (file.name for file in path.parent.glob("*.py")), n=1)
    close = [*(str(path.with_name(file)) for file in files), *nearest(stem, known)]
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    raise ConfigError(
        f"no config file {str(name_or_path)!r} (looked in {Path.cwd()} and among the packaged "
        f"recipes).{hint} `gcseg configs` lists them."
    )


def image_shape(shape: int | Sequence[int]) -> tuple[int, int]:
    """(H, W) from two numbers, or from one for a square.

    Raises:
        ConfigError: they are not one or two positive whole numbers.
    """
    sizes = [shape] if isinstance(shape, int) else list(shape)
    if len(sizes) not in (1, 2) or not all(isinstance(s, Integral) and s > 0 for s in sizes):
        raise ConfigError(f"shape is one or two positive whole numbers, height and width; received {sizes}")
    return int(sizes[0]), int(sizes[-1])


def shape_or_crop(cfg: Config, shape: int | Sequence[int] | None) -> tuple[int, int]:
    """(H, W) of images for a model: those given, see :func:`image_shape`, or the crop size of its config.

    Raises:
        ConfigError: neither is there, or the shape is none.
    """
    if shape is None:
        shape = (cfg.model.get("data_preprocessor") or {}).get("size")
        if shape is None:
            raise ConfigError("no crop size in model.data_preprocessor.size; give the shape, such as --shape 512 1024")
    return image_shape(shape)


def load_config(
    name_or_path: str | os.PathLike | Config,
    cfg_options: dict[str, Any] | None = None,
    check: bool = True,
) -> Config:
    """Read a config, apply overrides, translate it for gcseg, and check it.

    A file may build on a packaged recipe from anywhere with
    ``_base_ = '{{$GCSEG_CONFIGS:}}/gcnet/gcnet_r50-d8_4xb2-40k_cityscapes-512x1024.py'``; the variable is set here.

    Args:
        name_or_path: a path, the name of a packaged recipe, or a ``Config`` (which is copied, not changed).
        cfg_options: overrides with dotted keys, such as ``{"optim_wrapper.optimizer.lr": 0.02}``.
        check: check types, keys and the agreement of values (see :func:`gcseg.config_check.check_config`).

    Raises:
        ConfigError: no such file, it cannot be read, an override matches nothing, or a check fails.
    """
    from mmengine.config import Config

    if isinstance(name_or_path, Config):
        cfg = copy.deepcopy(name_or_path)
    else:
        path = find_config(name_or_path)
        os.environ.setdefault("GCSEG_CONFIGS", str(configs_dir()))
        cfg = _read(path)
    if cfg_options:
        _apply_overrides(cfg, cfg_options)
    if not isinstance(name_or_path, Config):  # one that is given may come from a checkpoint, whose word runs no code
        _import_custom_modules(cfg)
    translate_scope(cfg)
    if check:
        from gcseg.config_check import check_config

        check_config(cfg)
    return cfg


def _read(path: Path) -> Config:
    from mmengine.config import Config

    try:
        # Of the variable that is set here mmengine speaks at each use.
        with without_lines(f"env variable `GCSEG_CONFIGS` with value of {configs_dir()} "):
            cfg = Config.fromfile(path, import_custom_modules=False)
        translate_scope(cfg)  # looks at every value, and so imports what a config of `read_base` names
    except RecursionError as e:
        raise ConfigError(
            f"{path}: cannot be read as a config: it builds on itself, through its `_base_` or a file named there, or "
            "its values are nested too deeply"
        ) from e
    except (Exception, SystemExit) as e:  # a config is code, and raises what it likes
        place = _place_in_code(e)
        if isinstance(e, FileNotFoundError) and not place:
            raise ConfigError(
                f"{path}: a file it builds on does not exist ({e}); correct its `_base_`{_packaged(e)}"
            ) from e
        text = e.msg if isinstance(e, SyntaxError) else e
        raise ConfigError(f"{path}: cannot be read as a config: {type(e).__name__}: {text}{place}") from e
    return cfg


def _place_in_code(error: BaseException) -> str:
    """Line and file of the config's code that an error comes from; "" if it comes from none."""
    frames = list(walk_tb(error.__traceback__))
    for frame, line in reversed(frames):
        if "__name__" not in frame.f_globals:  # which modules have, and what mmengine runs has not
            return f" (line {line} of {frame.f_code.co_filename})"
    if isinstance(error, SyntaxError) and error.lineno:  # found by mmengine, in a copy of the file
        names = [str(frame.f_locals.get("filename")) for frame, _ in frames]
        files = [f" of {name}" for name in names if os.path.isfile(name)]
        return f" (line {error.lineno}{''.join(files[-1:])})"
    return ""


def _packaged(error: FileNotFoundError) -> str:
    """Where gcseg has the ``_base_`` file that is missing; "" if nowhere."""
    _, base, inner = str(error.filename or "").rpartition("_base_/")
    known = bool(base) and (configs_dir() / "_base_" / inner).is_file()
    return f". gcseg's own is '{{{{$GCSEG_CONFIGS:}}}}/_base_/{inner}'" if known else ""


def _import_custom_modules(cfg: Config) -> None:
    """Import the modules of ``custom_imports``, which register classes of the user's own.

    They are looked for among what is installed, then in the current folder and in that of the config.
    """
    if not cfg.get("custom_imports"):
        return
    from mmengine.utils import import_modules_from_strings

    for folder in (os.getcwd(), os.path.dirname(os.path.abspath(cfg.filename or "."))):
        if folder not in sys.path:
            sys.path.append(folder)
    try:
        import_modules_from_strings(**cfg.custom_imports)
    except Exception as e:  # whatever the module itself raises
        cause = e.__context__ or e  # mmengine's own error has the name of the module alone
        hint = "It lists modules, which are looked for in the current folder, beside the config, and on PYTHONPATH."
        if isinstance(cause, ModuleNotFoundError) and (cause.name or "").split(".")[0] == _FOREIGN_SCOPE:
            hint = f"That module imports from {_FOREIGN_SCOPE}: write {SCOPE} there, most paths are the same."
        raise ConfigError(
            f"{cfg.filename}: custom_imports={shortened(cfg.custom_imports)}: {e} ({type(cause).__name__}: {cause}). "
            f"{hint}"
        ) from e


def _apply_overrides(cfg: Config, options: dict[str, Any]) -> None:
    from gcseg.config_check import KNOWN_TOP_LEVEL

    for key in options:
        top = str(key).split(".")[0]
        if top not in cfg and top not in KNOWN_TOP_LEVEL:
            known = {*cfg.keys(), *KNOWN_TOP_LEVEL}
            close = nearest(top, known)
            hint = f" Did you mean {' or '.join(close)}?" if close else ""
            raise ConfigError(
                f"--cfg-options {key}: the config has no key {top!r}, so this would have no effect.{hint}"
            )
        used = _places_of_variable(cfg, top)
        if used:
            raise ConfigError(
                f"--cfg-options {key}: {top!r} is a variable of the config file, and its value stands in its places "
                f"already, so this would have no effect. Override the places: {', '.join(used)}."
            )
    try:
        cfg.merge_from_dict(copy.deepcopy(options))  # it takes `_delete_` out of what it is given
    except (KeyError, TypeError, IndexError, ValueError, AttributeError) as e:
        given = " ".join(f"{key}={shortened(value)}" for key, value in options.items())
        raise ConfigError(
            f"--cfg-options {given}: cannot be merged into the config, because what a key goes into is no dictionary "
            f"or too short a list ({shortened(str(e), 200)})"
        ) from e


def _places_of_variable(cfg: Config, name: str) -> list[str]:
    """Where the value of a top-level variable went: places below known sections that have its name and its value."""
    from gcseg.config_check import KNOWN_TOP_LEVEL

    is_pipeline = name in ("train_pipeline", "val_pipeline", "test_pipeline")
    if name not in cfg or (name in KNOWN_TOP_LEVEL and not is_pipeline):
        return []
    wanted = "pipeline" if is_pipeline else name
    places: list[str] = []

    def search(node: Any, where: str) -> None:
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list | tuple) else ()
        for key, value in items:
            if key == wanted and value == cfg[name]:
                places.append(f"{where}.{key}")
            else:
                search(value, f"{where}.{key}")

    for section in cfg.keys() & KNOWN_TOP_LEVEL:
        if not section.endswith("_pipeline"):
            search(cfg[section], section)
    return sorted(places)


def translate_scope(cfg: Config) -> None:
    """Make a config of mmsegmentation one of gcseg, in place.

    ``default_scope='mmseg'`` becomes ``'gcseg'`` and the prefix ``mmseg.`` of a ``type`` is dropped, so that the name
    is looked up in gcseg first and in mmcv and mmengine after that. (A scope of our own, because a registry called
    ``mmseg`` would collide with a real mmsegmentation in the same process.)
    """
    for value in cfg.values():
        _translate(value)
    if cfg.get("default_scope") in (None, _FOREIGN_SCOPE):
        cfg.default_scope = SCOPE


def _translate(node: Any) -> None:
    if isinstance(node, dict):
        kind = node.get("type")
        if isinstance(kind, str):
            for scope in (_FOREIGN_SCOPE, SCOPE):
                prefix = f"{scope}."
                # 'mmseg.GCHead' is a scope and a name; 'mmseg.models.GCHead' an import path, which is left alone.
                if kind.startswith(prefix) and "." not in kind[len(prefix) :]:
                    node["type"] = kind[len(prefix) :]
        if node.get("_scope_") == _FOREIGN_SCOPE:
            node["_scope_"] = SCOPE
        for value in node.values():
            _translate(value)
    elif isinstance(node, list | tuple):
        for value in node:
            _translate(value)


def require(cfg: Config, keys: tuple[str, ...], purpose: str) -> None:
    """Demand top-level keys.

    Raises:
        ConfigError: one is missing; names it, what it is for, and what stands in the config instead.
    """
    for key in keys:
        if cfg.get(key) is None:
            close = nearest(key, set(cfg.keys()) - set(keys))
            hint = f" It has {' and '.join(close)}, which is read as something else." if close else ""
            hint += " The schedules in configs/_base_/schedules define it." if key in _SCHEDULE_KEYS else ""
            if cfg.get("data") is not None and cfg.get("runner") is not None:
                hint = " It is a config of mmsegmentation 0.x; bring it to 1.x first, by mmsegmentation's own guide."
            raise ConfigError(f"{cfg.filename or 'the config'}: no `{key}`, which {purpose} needs.{hint}")


def register_all_modules(init_default_scope: bool = True) -> None:
    """Import everything that registers a class, as mmsegmentation's function of this name does.

    Building from a config does this by itself; it is for code that looks names up in mmengine's root registries.

    Args:
        init_default_scope: also make ``gcseg`` the scope in which mmengine looks up names.
    """
    for package in _REGISTERING:
        import_module(package)
    if init_default_scope:
        from mmengine.registry import DefaultScope

        current = DefaultScope.get_current_instance()
        if current is None or current.scope_name != SCOPE:
            DefaultScope.get_instance(f"{SCOPE}-{time.time_ns()}", scope_name=SCOPE)
