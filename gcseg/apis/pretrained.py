"""A model in a folder: its config as JSON and its weights as safetensors, written and read without running anything."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from re import fullmatch
from typing import Any

import torch
from torch import Tensor, nn

from gcseg.apis.images import find_test_pipeline
from gcseg.apis.inference import build_model, complete_dataset_meta, pick_device
from gcseg.apis.stored_model import check_stored, to_json, without_pretrained
from gcseg.config_build import built_from
from gcseg.utils.errors import CheckpointError, ConfigError, WeightsNotFoundError
from gcseg.utils.names import unknown_name_message
from gcseg.utils.signatures import shortened
from gcseg.version import __version__

CONFIG, WEIGHTS = "config.json", "model.safetensors"
_KEYS = ("gcseg_version", "model", "test_pipeline", "dataset_meta")


def save_pretrained(model: nn.Module, folder: str | os.PathLike) -> Path:
    """Write a model to a folder, from which :func:`from_pretrained` makes it again.

    The folder gets ``config.json`` (the model's config, how photographs are prepared, classes and palette) and
    ``model.safetensors`` (the weights, with a checksum); each is written whole or not at all. Weights that the config
    names as a start are not part of it.

    Args:
        model: from :func:`gcseg.create_model`, :func:`gcseg.apis.init_model` or :func:`from_pretrained`; or what
            ``DistributedDataParallel``, ``DataParallel`` or ``torch.compile`` made of it.
        folder: made where it does not exist; other files in it stay.

    Returns:
        The folder.

    Raises:
        ConfigError: no config describes the model, or it has parts that were handed in as modules.
        CheckpointError: the model is no longer what its config describes, or the folder cannot be written to.
    """
    from gcseg.engine.atomic_files import write_atomically
    from gcseg.export.publish import safetensors_bytes

    model = unwrapped(model)
    content = describe(model)
    state = model.state_dict()
    if any(tensor.is_meta for tensor in state.values()):
        raise CheckpointError("save_pretrained: the model is on the device meta and has no weights yet")
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    try:
        _check_twin(content["model"], weights, "save_pretrained")
    except CheckpointError as e:
        raise CheckpointError(
            f"{str(e).rstrip('.')}. A model is saved with the parts of its `cfg`; one that was changed afterwards, by "
            "prepare_for_inference or by hand, cannot be: save it before"
        ) from e
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    meta = {key: content[key] for key in ("gcseg_version", "dataset_meta")}
    folder = Path(os.path.expanduser(folder))
    try:
        write_atomically(folder / WEIGHTS, safetensors_bytes(weights, meta))
        write_atomically(folder / CONFIG, text.encode())
    except OSError as e:
        raise CheckpointError(f"{folder}: the model cannot be saved there: {e.strerror or e}") from e
    return folder


def unwrapped(model: nn.Module) -> Any:
    """The model inside ``DistributedDataParallel``, ``DataParallel`` and ``torch.compile``."""
    for name in ("module", "_orig_mod"):
        model = getattr(model, name, model)
    return model


def describe(model: nn.Module) -> dict[str, Any]:
    """What stands in ``config.json``.

    Raises:
        ConfigError: see :func:`save_pretrained`.
    """
    cfg: Any = getattr(model, "cfg", None)
    if cfg is None or cfg.get("model") is None:
        raise ConfigError(
            f"save_pretrained: a {type(model).__name__} without `cfg`; models that can be saved come from "
            "gcseg.create_model, gcseg.apis.init_model(config, checkpoint) or gcseg.from_pretrained. Of others save "
            "the weights: torch.save(model.state_dict(), file)"
        )
    parts: dict[str, Any] = {"model": without_pretrained(cfg.model)}
    with suppress(ConfigError):  # there is none where the images are no photographs
        parts["test_pipeline"] = find_test_pipeline(cfg)
    meta = complete_dataset_meta(getattr(model, "dataset_meta", None) or {}, cfg, model)
    parts["dataset_meta"] = {key: meta[key] for key in ("classes", "palette")}
    content = {"gcseg_version": __version__, **{key: to_json(part, key) for key, part in parts.items()}}
    check_stored({key: content[key] for key in ("model", "test_pipeline") if key in content}, "cfg")
    return content


def _check_twin(config: Mapping[str, Any], weights: Mapping[str, Tensor], name: str) -> None:
    """Refuse weights that a model of this config would not take, before any memory is taken for its sizes.

    Raises:
        ConfigError: no model can be built from it.
        CheckpointError: the weights do not fit; called ``name`` in the message.
    """
    from gcseg.engine.state_dict import check_fit
    from gcseg.models.segmentors import BaseSegmentor
    from gcseg.registry import MODELS, SCOPE

    with torch.device("meta"), built_from({"model": config}):
        twin = MODELS.build({**config, "_scope_": SCOPE})
    if not isinstance(twin, BaseSegmentor):
        raise ConfigError(f"model.type is {config.get('type')!r}, which is no segmentor")
    report = check_fit(twin, weights, strict=True, name=name)
    if not report.complete:
        raise CheckpointError(f"{name}: {report}")


def from_pretrained(
    folder: str | os.PathLike, *, device: str | torch.device | None = None, revision: str | None = None
) -> nn.Module:
    """The model that :func:`save_pretrained` or :func:`gcseg.push_to_hub` wrote. Nothing in its files is executed.

    Args:
        folder: a folder, or ``"user/name"`` on the Hugging Face hub (with the package huggingface_hub).
        device: where to compute; by default the first GPU, or the CPU where there is none.
        revision: branch, tag or commit on the hub.

    Returns:
        As from :func:`gcseg.apis.init_model`: in evaluation mode, with ``cfg`` and ``dataset_meta``. It has the dtype
        in which it was saved.

    Raises:
        WeightsNotFoundError: no such folder or model.
        CheckpointError: a file of it is damaged, refused, or does not fit to the other.
        HardwareError: ``device`` does not exist here.
    """
    from gcseg.engine.checkpoint import load_checkpoint_file

    target = pick_device(device)
    path = _find(folder, revision)
    content, file = _read_config(path / CONFIG), path / WEIGHTS
    if not file.is_file():
        raise WeightsNotFoundError(f"{folder}: no {WEIGHTS} in it; gcseg.save_pretrained(model, folder) writes one")
    weights = load_checkpoint_file(file)["state_dict"]
    try:
        model = _build(content, weights, file)
    except ConfigError as e:
        raise CheckpointError(f"{path / CONFIG}: {e}") from e
    dtypes = {tensor.dtype for tensor in weights.values() if tensor.is_floating_point()}
    if len(dtypes) == 1:
        model.to(dtypes.pop())
    model.load_state_dict(weights, strict=False)  # counters of batch normalisation may be absent
    return model.to(target)


def _find(folder: str | os.PathLike, revision: str | None) -> Path:
    path = Path(os.path.expanduser(folder))
    if path.is_dir():
        if revision is not None:
            raise ConfigError(f"from_pretrained: revision={revision!r}, but {folder} is a folder; leave it out")
        return path
    if path.exists():
        raise WeightsNotFoundError(f"{folder}: a file; give the folder that has {CONFIG} and {WEIGHTS}")
    if isinstance(folder, str) and fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", folder):
        from gcseg.apis.hub import download

        return download(folder, revision)
    raise WeightsNotFoundError(f"{folder}: no such folder, and no name of a model on the hub, which is 'user/name'")


def _read_config(file: Path) -> dict[str, Any]:
    """``config.json``, in which nothing is refused by :func:`check_stored`."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no number of JSON")

    try:
        content = json.loads(file.read_bytes(), parse_constant=refuse)
    except FileNotFoundError:
        raise WeightsNotFoundError(f"{file.parent}: no {CONFIG} in it; gcseg.save_pretrained writes one") from None
    except (OSError, ValueError, RecursionError) as e:
        raise CheckpointError(f"{file}: cannot be read ({e}); copy or download it again") from e
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise CheckpointError(f"{file}: has no `model`; gcseg.save_pretrained writes files that have")
    for key in content.keys() - set(_KEYS):
        raise CheckpointError(f"{file}: {unknown_name_message('key', key, _KEYS)} Is it of a newer gcseg?")
    if not isinstance(content.get("test_pipeline", []), list):
        raise CheckpointError(
            f"{file}: test_pipeline is {shortened(content['test_pipeline'])}, not a list of transforms"
        )
    try:
        check_stored({key: content[key] for key in ("model", "test_pipeline") if key in content}, CONFIG)
    except (ConfigError, RecursionError) as e:
        raise CheckpointError(f"{file.parent}: {e}") from e
    return content


def _build(content: dict[str, Any], weights: Mapping[str, Tensor], file: Path) -> nn.Module:
    """The model of a config that was looked through, for these weights of ``file``, which are not yet in it."""
    from mmengine.config import Config

    from gcseg.config_check import check_config
    from gcseg.engine.checkpoint_meta import normalise_meta

    cfg = Config({key: content[key] for key in ("model", "test_pipeline") if key in content})
    check_config(cfg)
    _check_twin(cfg.model, weights, str(file))
    with torch.device("cpu"):
        model = build_model(cfg, None, torch.device("cpu"), "")
    stored = {"dataset_meta": content.get("dataset_meta")}
    names = normalise_meta(stored, str(file.with_name(CONFIG))).get("dataset_meta") or {}
    model.dataset_meta = complete_dataset_meta(names, cfg, model)
    count, expected = len(model.dataset_meta["classes"]), model.decode_head.num_classes
    if count != expected:
        raise ConfigError(f"{count} names in dataset_meta.classes, but the head has {expected} classes")
    return model
