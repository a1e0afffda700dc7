"""Checks of a config before data or a device is touched.

Two kinds. *Names*: every ``type`` exists in the registry that will be asked for it, and every key is a parameter of
that class. *Values*: what two places must agree on does agree (classes, channels, crop size, ignored label).
"""

from __future__ import annotations

import inspect
import warnings
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
_DATALOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
KNOWN_TOP_LEVEL = frozenset(
    {
        *(k for k in _REGISTRY_OF_KEY if k.endswith(("_cfg", "_evaluator", "_hooks", "_pipeline"))),
        *_DATALOADERS,
        *("model", "tta_model", "optim_wrapper", "param_scheduler", "visualizer", "log_processor", "log_level"),
        *("work_dir", "load_from", "resume", "launcher", "env_cfg", "randomness", "default_scope", "custom_imports"),
        *("experiment_name", "runner_type", "auto_scale_lr", "cfg", "weights_dir"),
    }
) - {"init_cfg"}
# Registries whose classes get all their arguments from the config (others are handed a runner, an optimizer, ...).
_SELF_CONTAINED = {"MODELS", "DATASETS", "TRANSFORMS", "METRICS"}
# Dictionaries that describe a layer: their other keys are arguments of whatever layer they are given to.
_LAYER_KEYS = {"norm_cfg", "conv_cfg", "act_cfg", "upsample_cfg", "pad_cfg", "dcn"}
_BUILDER_KEYS = {"type", "_scope_", "_delete_", "_base_"}
# Handed in by the code that builds: train_cfg and test_cfg by the segmentor to the heads, the module to the TTA model,
# the block by a context head to its base class.
_HANDED_IN = {"train_cfg", "test_cfg", "module", "name", "_abbr_", "make_block"}


def check_config(cfg: Config) -> None:
    """Check names and values.

    Raises:
        ConfigError: the first thing that is wrong: where it stands, what was received, what is known, what to do.
    """
    check_names(cfg)
    check_values(cfg)


def check_names(cfg: Config) -> None:
    """Every ``type`` is known and every key of its dictionary is a parameter of it."""
    for key in cfg.keys():  # noqa: SIM118 (a Config iterates over its keys only through this)
        if key not in KNOWN_TOP_LEVEL:
            _check_top_level_typo(cfg, key)
            continue
        if key in _DATALOADERS and isinstance(cfg[key], dict):
            for name in ("dataset", "sampler", "batch_sampler"):
                if isinstance(cfg[key].get(name), dict):
                    _check_node(cfg[key][name], _REGISTRY_OF_KEY[name], f"{key}.{name}")
        elif key in _REGISTRY_OF_KEY:
            _check_node(cfg[key], _REGISTRY_OF_KEY[key], key)


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

        _resolve(node["type"], "MODELS", where)


def _check_typed(node: dict, registry_name: str, where: str) -> None:
    cls = _resolve(node["type"], registry_name, where)
    accepted, required, is_open = parameters(cls)
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


def _resolve(kind: Any, registry_name: str, where: str) -> Any:
    if not isinstance(kind, str):
        return kind  # a class itself
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
    for params in _signatures(cls):
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


def _signatures(cls: Any) -> Iterator[list[inspect.Parameter]]:
    if not inspect.isclass(cls):
        yield list(inspect.signature(cls).parameters.values())
        return
    for base in cls.__mro__:
        init = base.__dict__.get("__init__")
        if base.__module__.startswith("torch.nn.modules.module"):
            yield []  # nn.Module takes no arguments whatever its signature says
        elif init is not None and base is not object:
            yield list(inspect.signature(init).parameters.values())[1:]


def check_values(cfg: Config) -> None:
    """What two places must agree on does agree."""
    model = cfg.get("model")
    if not isinstance(model, dict):
        return
    heads = dict(_heads(model))
    _check_classes(cfg, heads)
    _check_channels(model, heads)
    _check_sizes(cfg, model)
    _check_ignore_index(cfg, model, heads)


def _heads(model: dict) -> Iterator[tuple[str, dict]]:
    for key in ("decode_head", "auxiliary_head"):
        value = model.get(key)
        if isinstance(value, dict):
            yield f"model.{key}", value
        elif isinstance(value, list | tuple):
            yield from ((f"model.{key}[{i}]", h) for i, h in enumerate(value) if isinstance(h, dict))


def _datasets(cfg: Config) -> Iterator[tuple[str, dict]]:
    """The innermost data sets: wrappers such as RepeatDataset are looked through."""
    for loader in _DATALOADERS:
        stack = [(f"{loader}.dataset", (cfg.get(loader) or {}).get("dataset"))]
        while stack:
            where, node = stack.pop()
            if not isinstance(node, dict):
                continue
            if "dataset" in node:
                stack.append((f"{where}.dataset", node["dataset"]))
            elif "datasets" in node:
                stack.extend((f"{where}.datasets[{i}]", d) for i, d in enumerate(node["datasets"]))
            else:
                yield where, node


def _default(node: dict, registry_name: str, key: str, where: str, fallback: Any = None) -> Any:
    """The value of ``key``: as written, or the default of the class."""
    if key in node:
        return node[key]
    for params in _signatures(_resolve(node["type"], registry_name, where)) if "type" in node else ():
        for p in params:
            if p.name == key and p.default is not p.empty:
                return p.default
    return fallback


def _classes_of(node: dict, where: str) -> int | None:
    classes = (node.get("metainfo") or {}).get("classes")
    if classes is None and "type" in node:
        classes = getattr(_resolve(node["type"], "DATASETS", where), "METAINFO", {}).get("classes")
    return len(classes) if classes is not None and not isinstance(classes, str) else None


def _check_classes(cfg: Config, heads: dict[str, dict]) -> None:
    for where, dataset in _datasets(cfg):
        count = _classes_of(dataset, where)
        for head_name, head in heads.items():
            n = _default(head, "MODELS", "num_classes", head_name)
            if count and n is not None and n != count:
                raise ConfigError(
                    f"{head_name}.num_classes is {n} but {where} ({dataset.get('type')}) has {count} classes; "
                    f"set {head_name}.num_classes={count}, or give the data set the classes in `metainfo`."
                )


def _check_channels(model: dict, heads: dict[str, dict]) -> None:
    backbone = model.get("backbone")
    if not isinstance(backbone, dict) or model.get("neck") is not None:
        return
    import torch

    from gcseg.registry import MODELS

    kwargs = {k: v for k, v in backbone.items() if k not in ("pretrained", "init_cfg")}
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        channels = getattr(MODELS.build(kwargs), "out_channels", None)
    if not isinstance(channels, list | tuple):
        return
    for where, head in heads.items():
        wanted, index = head.get("in_channels"), _default(head, "MODELS", "in_index", where, -1)
        pairs = (
            zip(wanted, index, strict=False)
            if isinstance(wanted, list | tuple) and isinstance(index, list | tuple)
            else [(wanted, index)]
        )
        for want, i in pairs:
            if not isinstance(want, int) or not isinstance(i, int):
                continue
            if not -len(channels) <= i < len(channels):
                raise ConfigError(
                    f"{where}.in_index is {i} but the backbone ({backbone.get('type')}) returns {len(channels)} "
                    f"feature maps; in_index may be {-len(channels)} to {len(channels) - 1}."
                )
            if want != channels[i]:
                raise ConfigError(
                    f"{where}.in_channels is {want} but feature map {i} of the backbone ({backbone.get('type')}) has "
                    f"{channels[i]} channels (all: {tuple(channels)}); set {where}.in_channels={channels[i]}."
                )


def _pair(size: Any) -> tuple[int, int] | None:
    if isinstance(size, int):
        return size, size
    return tuple(size) if isinstance(size, list | tuple) and len(size) == 2 else None  # type: ignore[return-value]


def _transforms(pipeline: Any) -> Iterator[dict]:
    if isinstance(pipeline, list | tuple):
        for item in pipeline:
            yield from _transforms(item)
    elif isinstance(pipeline, dict):
        yield pipeline
        yield from _transforms(pipeline.get("transforms"))


def _check_sizes(cfg: Config, model: dict) -> None:
    size = _pair((model.get("data_preprocessor") or {}).get("size"))
    train = (cfg.get("train_dataloader") or {}).get("dataset")
    for t in _transforms((train or {}).get("pipeline")):
        crop = _pair(t.get("crop_size")) if t.get("type") == "RandomCrop" else None
        if size and crop and (crop[0] > size[0] or crop[1] > size[1]):
            raise ConfigError(
                f"model.data_preprocessor.size is {size} but RandomCrop.crop_size is {crop} (H, W): a crop does not "
                f"fit into the batch; set model.data_preprocessor.size={crop}."
            )
    test = model.get("test_cfg") or {}
    mode = test.get("mode", "whole")
    if mode not in ("whole", "slide"):
        raise ConfigError(f"model.test_cfg.mode is {mode!r}; allowed: 'whole', 'slide'.")
    if mode == "slide":
        crop, stride = _pair(test.get("crop_size")), _pair(test.get("stride"))
        if crop is None or stride is None:
            raise ConfigError("model.test_cfg: mode='slide' needs crop_size=(h, w) and stride=(h, w), in pixels.")
        if stride[0] > crop[0] or stride[1] > crop[1] or min(stride) < 1:
            raise ConfigError(
                f"model.test_cfg: stride {stride} must lie between 1 and crop_size {crop}: a larger one leaves pixels "
                "that no window covers."
            )


def _check_ignore_index(cfg: Config, model: dict, heads: dict[str, dict]) -> None:
    found: dict[str, int] = {}
    for where, head in heads.items():
        found[f"{where}.ignore_index"] = _default(head, "MODELS", "ignore_index", where, 255)
    for where, dataset in _datasets(cfg):
        found[f"{where}.ignore_index"] = _default(dataset, "DATASETS", "ignore_index", where, 255)
        for t in _transforms(dataset.get("pipeline")):
            if t.get("type") == "RandomCrop" and "ignore_index" in t:
                found[f"{where}.pipeline: RandomCrop.ignore_index"] = t["ignore_index"]
    for key in ("val_evaluator", "test_evaluator"):
        metrics = cfg.get(key)
        for metric in metrics if isinstance(metrics, list | tuple) else [metrics]:
            if isinstance(metric, dict) and metric.get("type") == "IoUMetric":
                found[f"{key}.ignore_index"] = _default(metric, "METRICS", "ignore_index", key, 255)
    preprocessor = model.get("data_preprocessor") or {}
    if preprocessor.get("type") == "SegDataPreProcessor":
        found["model.data_preprocessor.seg_pad_val"] = preprocessor.get("seg_pad_val", 255)
    values = set(found.values())
    if len(values) > 1:
        listing = ", ".join(f"{k}={v}" for k, v in found.items())
        raise ConfigError(
            f"the ignored label differs between places: {listing}. Pixels with it would be trained on or counted; give "
            "all of them the same value."
        )
