"""Checks of a config before data or a device is touched.

Two kinds. *Names*, here: every ``type`` exists in the registry that will be asked for it, every key is a parameter of
that class, and the value is of the kind that the parameter's annotation asks for. *Values*, in
:mod:`gcseg.config_values`: what two places must agree on does agree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from inspect import Parameter
from typing import TYPE_CHECKING, Any, get_origin

from gcseg.utils.errors import ConfigError
from gcseg.utils.names import nearest, unknown_name_message
from gcseg.utils.signatures import arguments, fits, shortened, spell

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
# What mmengine builds from a section that has no `type`.
_DEFAULT_TYPE = {
    "val_cfg": "ValLoop",
    "test_cfg": "TestLoop",
    "optim_wrapper": "OptimWrapper",
    "log_processor": "LogProcessor",
    "visualizer": "Visualizer",
}
# Registries whose classes get all their arguments from the config (others are handed a runner, an optimizer, ...).
_SELF_CONTAINED = {"MODELS", "DATASETS", "TRANSFORMS", "METRICS", "LOOPS", "CLIPPING", "DATALOADERS"}
# Registries of which a dictionary found in the config is always a part to build.
_TYPED = {"DATASETS", "DATA_SAMPLERS", "OPTIMIZERS", "PARAM_SCHEDULERS"}
# Dictionaries that describe a layer: their other keys are arguments of whatever layer they are given to.
_LAYER_KEYS = {"norm_cfg", "conv_cfg", "act_cfg", "upsample_cfg", "pad_cfg", "dcn"}
_BUILDER_KEYS = {"type", "_scope_", "_delete_", "_base_"}
# Taken out by mmengine before it builds the object. Data loaders and the arguments of functions have no registry; here
# they stand beside those.
_RUNNER_KEYS = {
    "OPTIM_WRAPPERS": {"constructor", "paramwise_cfg"},
    "PARAM_SCHEDULERS": {"convert_to_iter_based", "epoch_length"},
    "HOOKS": {"priority"},
    "LOOPS": {"by_epoch"},
    "DATALOADERS": {"num_batch_per_epoch", "disable_subprocess_warning"},
    "CLIPPING": {"type"},
}
# Handed in by the code that builds: the module to the TTA model, the block by a context head to its base class, the
# optimizer to its schedulers, ... Nobody has to write them, and no list of known keys has them.
_HANDED_IN = {
    "MODELS": {"module", "name", "_abbr_", "make_block"},
    "LOOPS": {"runner", "dataloader", "evaluator"},
    "CLIPPING": {"parameters"},
    "DATA_SAMPLERS": {"dataset"},
    "FUNCTIONS": {"distributed"},
    "OPTIM_WRAPPERS": {"use_fsdp"},
    "OPTIMIZERS": {"params"},
    "PARAM_SCHEDULERS": {"optimizer"},
    "TASK_UTILS": {"context"},
    "VISUALIZERS": {"image"},
}
# A block inside another part is handed its channels by it; the backbone's may have a suffix to their names.
_BLOCK = re.compile(r"\.plugins\[\d+\]\.cfg$|\.block$")
_FROM_SEGMENTOR = {"train_cfg", "test_cfg"}  # handed to the heads, but a segmentor's own keys as well
# Kinds that no annotation says.
_PARTS_OF_LOADER = {"dataset": dict, "sampler": dict | None, "batch_sampler": dict | None}
_KINDS: dict[str, dict[str, Any]] = {
    "auto_scale_lr": {"enable": bool, "base_batch_size": int},
    "env_cfg": {"mp_cfg": dict, "dist_cfg": dict},
    "log_processor": {"window_size": int},
    "randomness": {"seed": int | None},
    **dict.fromkeys(DATALOADERS, _PARTS_OF_LOADER),
}
_LEAST = {
    "LOOPS": {"max_iters": 1, "max_epochs": 1, "val_interval": 1},
    "DATALOADERS": {"batch_size": 1, "num_workers": 0},
}


def check_config(cfg: Config) -> None:
    """Check names and values.

    Raises:
        ConfigError: the first thing that is wrong: where it stands, what was received, what is known, what to do.
    """
    from gcseg.config_values import check_values

    check_sections(cfg)
    check_names(cfg)
    check_values(cfg)


def check_sections(cfg: Config) -> None:
    """The top-level keys, and those of sections that have no type, are what mmengine's functions take."""
    from mmengine.optim import DefaultOptimWrapperConstructor
    from mmengine.runner import Runner
    from mmengine.utils.dl_utils import set_multi_processing
    from torch.nn.utils import clip_grad_norm_, clip_grad_value_

    sections = dict(cfg.items())
    if isinstance(cfg.get("default_hooks"), dict):  # None, which no annotation names, takes one of mmengine's away
        sections["default_hooks"] = {name: hook for name, hook in cfg.default_hooks.items() if hook is not None}
    _check_kinds(sections, {**arguments(Runner)[0], **arguments(Runner.build_logger)[0]}, "")
    _check_kinds(cfg.get("optim_wrapper"), arguments(DefaultOptimWrapperConstructor)[0], "optim_wrapper.")
    for section, kinds in _KINDS.items():
        parameters = {key: Parameter(key, Parameter.KEYWORD_ONLY, annotation=kind) for key, kind in kinds.items()}
        _check_kinds(cfg.get(section), parameters, f"{section}.")
    clipping = (cfg.get("optim_wrapper") or {}).get("clip_grad")
    by_value = isinstance(clipping, dict) and clipping.get("type") == "value"
    for where, node, function, kind in (
        ("randomness", cfg.get("randomness"), Runner.set_randomness, "FUNCTIONS"),
        ("env_cfg.mp_cfg", (cfg.get("env_cfg") or {}).get("mp_cfg"), set_multi_processing, "FUNCTIONS"),
        ("optim_wrapper.clip_grad", clipping, clip_grad_value_ if by_value else clip_grad_norm_, "CLIPPING"),
    ):
        if isinstance(node, dict):
            _check_arguments(node, function, kind, where)


def check_names(cfg: Config) -> None:
    """Every ``type`` is known, and every key of its dictionary is a parameter of it and of the right kind."""
    from torch.utils.data import DataLoader

    for key in cfg.keys():  # noqa: SIM118 (a Config iterates over its keys only through this)
        node = cfg[key]
        if key not in KNOWN_TOP_LEVEL:
            _check_top_level_typo(cfg, key)
        elif key in DATALOADERS and isinstance(node, dict):
            _check_arguments(node, DataLoader, "DATALOADERS", key)
            for name in _PARTS_OF_LOADER:
                _check_node(node.get(name), _REGISTRY_OF_KEY[name], f"{key}.{name}")
        elif key in _REGISTRY_OF_KEY:
            if key.endswith("_evaluator"):
                _check_evaluator(key, node)
            _check_node(_with_type(key, node), _REGISTRY_OF_KEY[key], key)


def _check_evaluator(key: str, node: Any) -> None:
    """It is a metric, or a list of metrics; mmengine takes a word in the list for a metric that is built."""
    for metric in node if isinstance(node, list | tuple) else [node]:
        if isinstance(metric, str | int | float | list | tuple) or (metric is None and node is not None):
            raise ConfigError(
                f"{key}: received {shortened(metric)}, expected a metric such as dict(type='IoUMetric') or a list."
            )


def _with_type(key: str, node: Any) -> Any:
    """A section as mmengine reads it that has no ``type``."""
    if not isinstance(node, dict) or "type" in node or "constructor" in node:
        return node
    if key == "train_cfg":
        if "by_epoch" not in node:
            raise ConfigError(
                "train_cfg: no `type`; give dict(type='IterBasedTrainLoop', max_iters=..., val_interval=...)."
            )
        return {"type": "EpochBasedTrainLoop" if node["by_epoch"] else "IterBasedTrainLoop", **node}
    return {"type": _DEFAULT_TYPE[key], **node} if key in _DEFAULT_TYPE else node


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
        _check_arguments(node, resolve_type(node["type"], registry_name, where), registry_name, where)
    elif registry_name in _TYPED:
        raise ConfigError(f"{where}: no `type`, the class to build; received {shortened(node)}.")
    if registry_name == "HOOKS" and "type" in node:
        _check_hook(node, where)
    for key, value in node.items():
        if registry_name == "HOOKS":
            child = None if "type" in node else "HOOKS"  # default_hooks: the keys are free names
        else:
            child = _registry_for(key, registry_name)
        if key in _LAYER_KEYS:
            _check_layer(value, f"{where}.{key}")
        elif child is not None:
            _check_node(value, child, f"{where}.{key}")


def _check_hook(node: dict, where: str) -> None:
    """The priority of a hook, and what an ``EMAHook`` hands on to the averaged model."""
    from mmengine.runner import Priority, get_priority

    try:
        get_priority(node.get("priority", "NORMAL"))
    except (KeyError, TypeError, ValueError):
        names = ", ".join(priority.name for priority in Priority)
        raise ConfigError(
            f"{where}.priority: received {shortened(node['priority'])}, allowed are 0 to 100 and {names}."
        ) from None
    averaging = arguments(resolve_type(node["type"], "HOOKS", where))[0].get("ema_type")
    if averaging is not None:
        averaged = resolve_type(node.get("ema_type", averaging.default), "MODELS", f"{where}.ema_type")
        _check_kinds(node, arguments(averaged)[0], f"{where}.")


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
    if isinstance(node, dict) and "type" in node:
        import mmcv.cnn  # noqa: F401 (registers the layers)

        resolve_type(node["type"], "MODELS", where)


def _check_arguments(node: dict, cls: Any, registry_name: str, where: str) -> None:
    """The keys are parameters of ``cls``, and the values of the right kind and not too small; none is missing."""
    parameters, is_open = arguments(cls)
    accepted = parameters.keys() | _RUNNER_KEYS.get(registry_name, set())
    handed_in = _HANDED_IN.get(registry_name, set()) | _FROM_SEGMENTOR
    if _BLOCK.search(where):
        accepted, handed_in = accepted | {"postfix"}, handed_in | {"in_channels"}
    for key in node:
        if key in _BUILDER_KEYS or key in accepted:
            continue
        # Where any key is taken and passed on, only a near miss of a known key is an error.
        if is_open and not get_close_matches(str(key), accepted, n=1, cutoff=0.9):
            continue
        functions = {name for name, p in parameters.items() if get_origin(p.annotation) is Callable}
        known = accepted - functions - (handed_in - _FROM_SEGMENTOR)
        what = "key" if registry_name == "DATALOADERS" else f"key of {_name(cls)}"
        raise ConfigError(f"{where}: " + unknown_name_message(what, str(key), known))
    _check_kinds(node, parameters, f"{where}.")
    for key, least in _LEAST.get(registry_name, {}).items():
        value = node.get(key)
        if isinstance(value, int | float) and value < least:
            raise ConfigError(f"{where}.{key}: received {value}, allowed are whole numbers from {least}.")
    if registry_name in _SELF_CONTAINED:
        required = {name for name, p in parameters.items() if p.default is p.empty}
        missing = required - set(node) - handed_in
        if missing:
            raise ConfigError(f"{where}: {_name(cls)} needs {', '.join(f'`{m}`' for m in sorted(missing))}, not given.")


def _check_kinds(node: Any, parameters: Mapping[str, Parameter], where: str) -> None:
    for key, value in node.items() if isinstance(node, dict) else ():
        p = parameters.get(key)
        if p is None or fits(value, p.annotation):
            continue
        if type(value) is type(p.default) and not fits(p.default, p.annotation):
            continue  # an annotation that forgets its own default, such as `x: str = None`
        raise ConfigError(f"{where}{key}: received {shortened(value)}, expected {spell(p.annotation)}.")


def _name(cls: Any) -> str:
    return getattr(cls, "__name__", str(cls))


def resolve_type(kind: Any, registry_name: str, where: str) -> Any:
    """The class or function that a ``type`` means.

    Args:
        kind: a name, or the class itself.
        registry_name: which registry of :mod:`gcseg.registry` is asked.
        where: the place in the config, for the error.

    Raises:
        ConfigError: no such name; has the nearest known ones.
    """
    if callable(kind):
        return kind
    import gcseg.registry as registries

    registry = getattr(registries, registry_name)
    try:
        cls = registry.get(kind)
    except (RuntimeError, TypeError):  # what mmengine raises for a dotted name that leads nowhere, and for no name
        cls = None
    if not callable(cls):  # a name that is not registered may still be one of Python's modules
        message = unknown_name_message(f"type in {registry_name.lower()}", str(kind), _known(registry))
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
