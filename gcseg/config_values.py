"""Values of a config that two places must agree on: classes, channels, sizes, the ignored label."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from gcseg.config_build import built_from
from gcseg.config_check import DATALOADERS, resolve_type
from gcseg.utils.errors import ConfigError
from gcseg.utils.names import unknown_name_message
from gcseg.utils.signatures import arguments

if TYPE_CHECKING:
    from mmengine.config import Config


# What IoUMetric gives for each of its iou_metrics, beside aAcc.
_SCORES = {"mIoU": ("mIoU", "mAcc"), "mDice": ("mDice", "mAcc"), "mFscore": ("mFscore", "mPrecision", "mRecall")}


def check_values(cfg: Config) -> None:
    """What two places must agree on does agree."""
    _check_watched_scores(cfg)
    _check_factors(cfg)
    _check_skipping(cfg)
    model = cfg.get("model")
    if not isinstance(model, dict):
        return
    heads = dict(_heads(model))
    _check_classes(cfg)
    _check_channels(model, heads)
    _check_sizes(cfg, model)
    _check_ignore_index(cfg, model, heads)


def warn_of_schedule(cfg: Config) -> None:
    """Warn where the learning rate does not arrive at the end of its schedule with the training, which alone cares."""
    iterations = _section(cfg, "train_cfg").get("max_iters")
    schedulers = cfg.get("param_scheduler")
    by_iteration = [s for s in schedulers or () if isinstance(s, dict) and not s.get("by_epoch", True)]
    ends = [s["end"] for s in by_iteration if isinstance(s.get("end"), int)]
    if isinstance(iterations, int) and ends and len(by_iteration) == len(schedulers) and max(ends) != iterations:
        place = [i for i, s in enumerate(schedulers) if s.get("end") == max(ends)][-1]
        warnings.warn(
            f"train_cfg.max_iters is {iterations}, but the learning rate is scheduled up to iteration {max(ends)}: "
            f"param_scheduler.{place}.end={iterations} makes them end together",
            stacklevel=2,
        )


def _section(node: Config | dict, key: str) -> dict:
    """A dictionary inside another, or an empty one."""
    value = node.get(key)
    return value if isinstance(value, dict) else {}


def _heads(model: dict) -> Iterator[tuple[str, dict]]:
    for key in ("decode_head", "auxiliary_head"):
        value = model.get(key)
        if isinstance(value, dict):
            yield f"model.{key}", value
        elif isinstance(value, list | tuple):
            yield from ((f"model.{key}[{i}]", h) for i, h in enumerate(value) if isinstance(h, dict))


def innermost_datasets(cfg: Config, loaders: Sequence[str] = DATALOADERS) -> Iterator[tuple[str, dict]]:
    """Place and config of the innermost data sets, in their order: wrappers such as RepeatDataset are looked through.

    The place is as errors spell it, ``train_dataloader.dataset.datasets[0]``; see :func:`option_of`.
    """
    for loader in loaders:
        stack = [(f"{loader}.dataset", _section(cfg, loader).get("dataset"))]
        while stack:
            where, node = stack.pop()
            if not isinstance(node, dict):
                continue
            if "dataset" in node:
                stack.append((f"{where}.dataset", node["dataset"]))
            elif "datasets" in node:
                inner = [(f"{where}.datasets[{i}]", d) for i, d in enumerate(node["datasets"])]
                stack.extend(reversed(inner))
            else:
                yield where, node


def option_of(place: str) -> str:
    """A place as ``--cfg-options`` spells it: ``datasets.0`` for ``datasets[0]``."""
    return re.sub(r"\[(\d+)\]", r".\1", place)


def _default(node: dict, registry_name: str, key: str, where: str, fallback: Any = None) -> Any:
    """The value of ``key``: as written, or the default of the class."""
    if key in node:
        return node[key]
    p = arguments(resolve_type(node["type"], registry_name, where))[0].get(key) if "type" in node else None
    return fallback if p is None or p.default is p.empty else p.default


def _classes_of(node: dict, where: str) -> int | None:
    classes = _section(node, "metainfo").get("classes")
    if classes is None and "type" in node:
        classes = getattr(resolve_type(node["type"], "DATASETS", where), "METAINFO", {}).get("classes")
    return len(classes) if classes is not None and not isinstance(classes, str) else None


def classes_of_heads(cfg: Config) -> dict[str, int]:
    """How many classes each head of a config has, by the name of the head."""
    counts = {name: _default(head, "MODELS", "num_classes", name) for name, head in _heads(_section(cfg, "model"))}
    return {name: count for name, count in counts.items() if isinstance(count, int)}


def remedy_of_count(head: str, classes: int) -> str:
    """What to do where a data set has ``classes`` classes and the head of that name another number."""
    if classes == 1:
        return "a network tells two labels apart at least: name the background as a class, too, and set num_classes=2"
    return f"set {head}.num_classes={classes}, or correct the classes of the data set"


def _check_classes(cfg: Config) -> None:
    for where, dataset in innermost_datasets(cfg):
        count = _classes_of(dataset, where)
        for head_name, n in classes_of_heads(cfg).items():
            if count and n != count:
                raise ConfigError(
                    f"{head_name}.num_classes is {n} but {where} ({dataset.get('type')}) has {count} classes; "
                    f"set {head_name}.num_classes={count}, or give the data set the classes in `metainfo`."
                )


def _check_channels(model: dict, heads: dict[str, dict]) -> None:
    backbone = model.get("backbone")
    if not isinstance(backbone, dict) or model.get("neck") is not None:
        return
    import torch

    from gcseg.registry import MODELS, SCOPE

    bare = {k: v for k, v in backbone.items() if k not in ("pretrained", "init_cfg")}
    with torch.device("meta"), warnings.catch_warnings(), built_from({"model": {"backbone": bare}}):
        warnings.simplefilter("ignore")
        channels = getattr(MODELS.build({**bare, "_scope_": SCOPE}), "out_channels", None)
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
    size = _pair(_section(model, "data_preprocessor").get("size"))
    train = _section(_section(cfg, "train_dataloader"), "dataset")
    for t in _transforms(train.get("pipeline")):
        crop = _pair(t.get("crop_size")) if t.get("type") == "RandomCrop" else None
        if size and crop and (crop[0] > size[0] or crop[1] > size[1]):
            raise ConfigError(
                f"model.data_preprocessor.size is {size} but RandomCrop.crop_size is {crop} (H, W): a crop does not "
                f"fit into the batch; set model.data_preprocessor.size={crop}."
            )


def _check_watched_scores(cfg: Config) -> None:
    """The scores that hooks watch are computed; otherwise a run ends at its first validation."""
    metrics = cfg.get("val_evaluator")
    metrics = metrics if isinstance(metrics, list | tuple) else [metrics]
    known: set[str] = set()
    for metric in metrics:
        if not isinstance(metric, dict) or metric.get("type") != "IoUMetric" or metric.get("format_only"):
            return  # what a metric of another kind computes is not known here
        kinds = metric.get("iou_metrics", "mIoU")
        kinds = [kinds] if isinstance(kinds, str) else kinds
        if any(kind not in _SCORES for kind in kinds):
            return  # which the metric says best
        names = {"aAcc", *(name for kind in kinds for name in _SCORES[kind])}
        known |= {f"{metric['prefix']}/{n}" for n in names} if metric.get("prefix") else names
    hooks = {f"default_hooks.{k}": h for k, h in _section(cfg, "default_hooks").items()}
    hooks |= {f"custom_hooks[{i}]": h for i, h in enumerate(cfg.get("custom_hooks") or ())}
    if any(isinstance(hook, dict) and hook.get("type") == "ValLossHook" for hook in hooks.values()):
        known.add("val_loss")
    for where, hook in hooks.items():
        for key in ("save_best", "monitor"):
            value = hook.get(key) if isinstance(hook, dict) else None
            for name in value if isinstance(value, list | tuple) else [value]:
                of_a_loss = "val_loss" in known and isinstance(name, str) and name.startswith("val_")
                if isinstance(name, str) and name != "auto" and name not in known and not of_a_loss:
                    raise ConfigError(f"{where}.{key}: " + unknown_name_message("score of val_evaluator", name, known))


def _check_factors(cfg: Config) -> None:
    """What ``paramwise_cfg`` multiplies is there; otherwise mmengine speaks of a `base_wd`, or of None."""
    wrapper = _section(cfg, "optim_wrapper")
    if wrapper.get("constructor", "DefaultOptimWrapperConstructor") != "DefaultOptimWrapperConstructor":
        return
    paramwise, optimizer = _section(wrapper, "paramwise_cfg"), _section(wrapper, "optimizer")
    factors = {key: key for key in paramwise}
    for name in _section(paramwise, "custom_keys"):
        factors |= {f"custom_keys.{name}.{key}": key for key in _section(paramwise["custom_keys"], name)}
    for where, factor in factors.items():
        for ending, key in (("decay_mult", "weight_decay"), ("lr_mult", "lr")):
            if factor.endswith(ending) and optimizer.get(key) is None:
                place = f"optim_wrapper.optimizer.{key}"
                raise ConfigError(
                    f"optim_wrapper.paramwise_cfg.{where} multiplies {place}, which is not given; give it, such as "
                    f"{place}=0.01."
                )


def _check_skipping(cfg: Config) -> None:
    """No evaluation leaves out images."""
    for where, dataset in innermost_datasets(cfg):
        if dataset.get("skip_bad") and not where.startswith("train_dataloader"):
            raise ConfigError(
                f"{where}.skip_bad={dataset['skip_bad']}: scores must count every image, so only training can leave "
                "out bad ones; take it out here. `gcseg check CONFIG` names the files to mend."
            )


def _check_ignore_index(cfg: Config, model: dict, heads: dict[str, dict]) -> None:
    found: dict[str, int] = {}
    for where, head in heads.items():
        found[f"{where}.ignore_index"] = _default(head, "MODELS", "ignore_index", where, 255)
    for where, dataset in innermost_datasets(cfg):
        found[f"{where}.ignore_index"] = _default(dataset, "DATASETS", "ignore_index", where, 255)
        for t in _transforms(dataset.get("pipeline")):
            if t.get("type") == "RandomCrop" and "ignore_index" in t:
                found[f"{where}.pipeline: RandomCrop.ignore_index"] = t["ignore_index"]
    for key in ("val_evaluator", "test_evaluator"):
        metrics = cfg.get(key)
        for metric in metrics if isinstance(metrics, list | tuple) else [metrics]:
            if isinstance(metric, dict) and metric.get("type") == "IoUMetric":
                found[f"{key}.ignore_index"] = _default(metric, "METRICS", "ignore_index", key, 255)
    preprocessor = _section(model, "data_preprocessor")
    if preprocessor.get("type") == "SegDataPreProcessor":
        found["model.data_preprocessor.seg_pad_val"] = preprocessor.get("seg_pad_val", 255)
    values = set(found.values())
    if len(values) > 1:
        listing = ", ".join(f"{k}={v}" for k, v in found.items())
        raise ConfigError(
            f"the ignored label differs between places: {listing}. Pixels with it would be trained on or counted; give "
            "all of them the same value."
        )
