"""Checks of a config before data or a device is touched.

Two kinds. *Names*, here: every ``type`` exists in the registry that will be asked for it, and every key is a parameter
of that class. *Values*, in :mod:`gcseg.config_values`: what two places must agree on does agree.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Any

from gcseg.utils.errors import ConfigError
from gcseg.utils.names import nearest, unknown_name_message

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.registry import Registry

# Which registry answers for the dictionaries under a key. A dictionary inherits the registry of the one around it.
_REGISTRY_OF_KEY = {
    "model": "MODELS",
    "tta_model": "MODELS",
    "init_cfg": "WEIGHT_INITIALIZERS",
    "sampler": "DATA_SAMPLERS",
    "batch_sampler": "DATA_SAMPLERS",
    "dataset": "DATASETS",
    "datasets": "DATASETS",
    "pipeline": "TRANSFORMS",
    "transforms": "TRANSFORMS",
    "train_pipeline": "TRANSFORMS",
    "val_pipeline": "TRANSFORMS",
    "test_pipeline": "TRANSFORMS",
    "tta_pipeline": "TRANSFORMS",
    "train_cfg": "LOOPS",
    "val_cfg": "LOOPS",
    "test_cfg": "LOOPS",
    "optim_wrapper": "OPTIM_WRAPPERS",
    "optimizer": "OPTIMIZERS",
    "param_scheduler": "PARAM_SCHEDULERS",
    "val_evaluator": "METRICS",
    "test_evaluator": "METRICS",
    "default_hooks": "HOOKS",
    "custom_hooks": "HOOKS",
    "visualizer": "VISUALIZERS",
    "vis_backends": "VISBACKENDS",
    "log_processor": "LOG_PROCESSORS",
    "collate_fn": "FUNCTIONS",
}
DATALOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
KNOWN_TOP_LEVEL = frozenset(
    {
        *(k for k in _REGISTRY_OF_KEY if k.endswith(("_cfg", "_evaluator", "_hooks", "_pipeline"))),
        *DATALOADERS,
        *("model", "tta_model", "optim_wrapper", "param_scheduler", "visualizer", "log_processor", "log_level"),
        *("work_dir", "load_from", "resume", "launcher", "env_cfg", "randomness", "default_scope", "custom_imports"),
        *("experiment_name", "runner_type", "auto_scale_lr", "cfg", "weights_dir"),
    }
) - {"init_cfg"}
# Registries whose classes get all their arguments from the config (others are handed a runner, an optimizer, ...).
_SELF_CONTAINED = {"MODELS", "DATASETS", "TRANSFORMS", "METRICS", "LOOPS"}
# Dictionaries that describe a layer: their other keys are arguments of whatever layer they are given to.
_LAYER_KEYS = {"norm_cfg", "conv_cfg", "act_cfg", "upsample_cfg", "pad_cfg", "dcn"}
_BUILDER_KEYS = {"type", "_scope_", "_delete_", "_base_"}
# Taken out by mmengine before it builds the object.
_RUNNER_KEYS = {
    "OPTIM_WRAPPERS": {"constructor", "paramwise_cfg"},
    "PARAM_SCHEDULERS": {"convert_to_iter_based", "epoch_length"},
    "HOOKS": {"priority"},
    "LOOPS": {"by_epoch"},
}
# Handed in by the code that builds: train_cfg and test_cfg by the segmentor to the heads, the module to the TTA model,
# the block by a context head to its base class.
_HANDED_IN = {"train_cfg", "test_cfg", "module", "name", "_abbr_", "make_block"}
_HANDED_IN |= {"runner", "dataloader", "evaluator"}  # by the runner to its loops


def check_config(cfg: Config) -> None:
    """Check names and values.

    Raises:
        ConfigError: the first thing that is wrong: where it stands, what was received, what is known, what to do.
    """
    from gcseg.config_values import check_values

    check_names(cfg)
    check_values(cfg)


def check_names(cfg: Config) -> None:
    """Every ``type`` is known and every key of its dictionary is a parameter of it."""
    for key in cfg.keys():  # noqa: SIM118 (a Config iterates over its keys only through this)
        if key not in KNOWN_TOP_LEVEL:
            _check_top_level_typo(cfg, key)
            continue
        if key in DATALOADERS and isinstance(cfg[key], dict):
            _check_loader(cfg[key], key)
            for name in ("dataset", "sampler", "batch_sampler"):
                if isinstance(cfg[key].get(name), dict):
                    _check_node(cfg[key][name], _REGISTRY_OF_KEY[name], f"{key}.{name}")
        elif key in _REGISTRY_OF_KEY:
            _check_node(cfg[key], _REGISTRY_OF_KEY[key], key)
    train = cfg.get("train_cfg")
    if isinstance(train, dict) and not {"type", "by_epoch"} & set(train):
        raise ConfigError(
            "train_cfg: no `type`; give dict(type='IterBasedTrainLoop', max_iters=..., val_interval=...)."
        )


def _check_loader(node: dict, where: str) -> None:
    from torch.utils.data import DataLoader

    accepted = parameters(DataLoader)[0] | {"num_batch_per_epoch"}  # that one is mmengine's
    for key in node:
        if key not in accepted and key not in _BUILDER_KEYS:
            raise ConfigError(f"{where}: " + unknown_name_message("key", str(key), accepted))
    for key, least in (("batch_size", 1), ("num_workers", 0)):
        value = node.get(key)
        if value is not None and (not isinstance(value, int) or value < least):
            raise ConfigError(f"{where}.{key}: received {value!r}, allowed are whole numbers from {least}.")


def _check_top_level_typo(cfg: Config, key: str) -> None:
    # A config may define variables of any name, so only a near miss of a name that is not there is suspicious.
    if isinstance(cfg[key], dict | list):
        for close in nearest(key, KNOWN_TOP_LEVEL, n=1):
            same_length = abs(len(close) - len(key)) <= 2
            if close not in cfg and same_length and close[:3] == key[:3] and close not in ("cfg",):
                raise ConfigError(f"`{key}` has no meaning, and `{close}` is not there: rename it to `{close}`.")


def _check_node(node: Any, registry_name: str, where: str) -> None:
    if isinstance(node, list | tuple):
        for i, item in enumerate(node):
            _check_node(item, registry_name, f"{where}[{i}]")
        return
    if not isinstance(node, dict):
        return
    if "type" in node:
        _check_typed(node, registry_name, where)
    if registry_name == "HOOKS" and isinstance(node.get("ema_type"), str):
        resolve_type(node["ema_type"], "MODELS", f"{where}.ema_type")
    for key, value in node.items():
        if registry_name == "HOOKS":
            child = None if "type" in node else "HOOKS"  # default_hooks: the keys are free names
        else:
            child = _registry_for(key, registry_name)
        if key in _LAYER_KEYS:
            _check_layer(value, f"{where}.{key}")
        elif child is not None:
            _check_node(value, child, f"{where}.{key}")


def _registry_for(key: str, around: str) -> str | None:
    if around == "MODELS":
        if key == "sampler":
            return "TASK_UTILS"  # the pixel sampler of a head, not a data loader's
        if key in ("train_cfg", "test_cfg"):
            return None  # plain options of the segmentor
        return "WEIGHT_INITIALIZERS" if key == "init_cfg" else "MODELS"
    if around == "TRANSFORMS":
        return "TRANSFORMS"
    return _REGISTRY_OF_KEY.get(key, around if around in ("LOOPS", "METRICS") else None)


def _check_layer(node: Any, where: str) -> None:
    if isinstance(node, dict) and isinstance(node.get("type"), str):
        import mmcv.cnn  # noqa: F401 (registers the layers)

        resolve_type(node["type"], "MODELS", where)


def _check_typed(node: dict, registry_name: str, where: str) -> None:
    cls = resolve_type(node["type"], registry_name, where)
    accepted, required, is_open = parameters(cls)
    accepted |= _RUNNER_KEYS.get(registry_name, set())
    name = getattr(cls, "__name__", str(cls))
    for key in node:
        if key in _BUILDER_KEYS or key in accepted:
            continue
        # Where any key is taken and passed on, only a near miss of a known key is an error.
        if is_open and not get_close_matches(str(key), accepted, n=1, cutoff=0.9):
            continue
        raise ConfigError(f"{where}: " + unknown_name_message(f"key of {name}", str(key), accepted - {"self"}))
    if registry_name in _SELF_CONTAINED:
        missing = required - set(node) - _HANDED_IN
        if missing:
            raise ConfigError(f"{where}: {name} needs {', '.join(f'`{m}`' for m in sorted(missing))}, not given.")


def resolve_type(kind: Any, registry_name: str, where: str) -> Any:
    """The class or function that a ``type`` means.

    Args:
        kind: a name, or the class itself.
        registry_name: which registry of :mod:`gcseg.registry` is asked.
        where: the place in the config, for the error.

    Raises:
        ConfigError: no such name; has the nearest known ones.
    """
    if not isinstance(kind, str):
        return kind
    import gcseg.registry as registries

    registry = getattr(registries, registry_name)
    try:
        cls = registry.get(kind)
    except RuntimeError:  # what mmengine raises for a dotted name that leads nowhere
        cls = None
    if cls is None:
        message = unknown_name_message(f"type in {registry_name.lower()}", kind, _known(registry))
        raise ConfigError(
            f"{where}: {message} A class of your own has to be imported: add its module to `custom_imports`."
        )
    return cls


def _known(registry: Registry) -> set[str]:
    names: set[str] = set()
    node: Registry | None = registry
    while node is not None:
        names.update(node.module_dict)
        node = node.parent
    return names


@cache
def parameters(cls: Any) -> tuple[frozenset[str], frozenset[str], bool]:
    """The keyword arguments a class or function takes; where one takes ``**kwargs``, those of the next base as well.

    Returns:
        all names; those without a default; whether any other name is taken too.
    """
    accepted: set[str] = set()
    required: set[str] = set()
    for params in signatures(cls):
        is_open = False
        for p in params:
            if p.kind is p.VAR_KEYWORD:
                is_open = True
            elif p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY):
                if p.name not in accepted and p.default is p.empty:
                    required.add(p.name)
                accepted.add(p.name)
        if not is_open:
            return frozenset(accepted), frozenset(required), False
    return frozenset(accepted), frozenset(required), True


def signatures(cls: Any) -> Iterator[list[inspect.Parameter]]:
    """Parameters of a function, or of the constructors of a class and its bases, nearest first."""
    if not inspect.isclass(cls):
        yield list(inspect.signature(cls).parameters.values())
        return
    for base in cls.__mro__:
        init = base.__dict__.get("__init__")
        if base.__module__.startswith("torch.nn.modules.module"):
            yield []  # nn.Module takes no arguments whatever its signature says
        elif init is not None and base is not object:
            yield list(inspect.signature(init).parameters.values())[1:]
