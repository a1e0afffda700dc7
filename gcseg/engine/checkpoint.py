"""The one door through which checkpoints come in.

``load_checkpoint_file`` accepts a file, a URL, ``open-mmlab://``, ``torchvision://``, ``mmcls://`` and
``.safetensors``, executes nothing (:mod:`gcseg.engine.unpickle`) and brings old forms to one form.
``install_safe_loader`` puts the same door in front of mmengine's runner and of ``init_cfg=dict(type='Pretrained',
...)``; it acts on the whole process, so entry points call it and imports do not.
"""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any

from gcseg.engine.checkpoint_meta import normalise_meta
from gcseg.engine.weights import hub_url, resolve_local, resolve_url
from gcseg.utils.errors import CheckpointError
from gcseg.utils.signatures import shortened

# Prefixes as mmengine registers them; the last two groups fetch files by ways that would unpickle them.
_HUBS = {
    "open-mmlab://": "open-mmlab",
    "openmmlab://": "open-mmlab",
    "torchvision://": "torchvision",
    "modelzoo://": "torchvision",
    "mmcls://": "mmcls",
}
# In the header of a .safetensors file: CRC-32 of all that follows the header, eight hexadecimal digits.
CHECKSUM = "crc32"
_LONGEST_HEADER = 100_000_000  # of the format
_REFUSED_SCHEMES = ("pavi://", r"(\S+\:)?s3://", r"(\S+\:)?petrel://")


def load_checkpoint_file(path_or_url: str | os.PathLike, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint without executing anything in it, if all of it is as it was written.

    Checked are the checksums in the container that ``torch.save`` writes, and the one in a ``.safetensors`` file of
    :func:`gcseg.export.publish_checkpoint`. Other files have none.

    Args:
        path_or_url: a file, a file name in the weights folder, http(s), ``open-mmlab://name``, ``torchvision://name``,
            ``mmcls://name``. A name that ends in ``.safetensors`` is read as such.
        map_location: as in ``torch.load``.

    Returns:
        A dictionary with at least ``state_dict`` (name -> tensor) and ``meta`` (see :func:`normalise_checkpoint`).

    Raises:
        WeightsNotFoundError: no such file and no network; says where to put it.
        CheckpointError: damaged, refused, or without weights.
    """
    name = str(path_or_url)
    file = find_checkpoint_file(name)
    if file.suffix == ".safetensors":
        content = _read_safetensors(file, map_location)
    else:
        from gcseg.engine.container import container_damage
        from gcseg.engine.unpickle import safe_torch_load

        problem = container_damage(file)
        if problem is not None:
            raise CheckpointError(
                f"{file}: the checkpoint is damaged: {problem}. Copy or download it again, or use an earlier one"
            )
        content = safe_torch_load(file, map_location)
    checkpoint = normalise_checkpoint(content, name)
    if name.startswith("mmcls://"):
        prefix = "backbone."
        weights = checkpoint["state_dict"]
        checkpoint["state_dict"] = {k[len(prefix) :]: v for k, v in weights.items() if k.startswith(prefix)}
    return checkpoint


def find_checkpoint_file(name: str) -> Path:
    """The local file behind a path, URL or hub name; downloads it when it must.

    Raises:
        WeightsNotFoundError: see :func:`load_checkpoint_file`.
    """
    for prefix, hub in _HUBS.items():
        if name.startswith(prefix):
            return resolve_url(hub_url(hub, name[len(prefix) :]))
    if name.startswith(("http://", "https://")):
        return resolve_url(name)
    if "://" in name:
        raise CheckpointError(
            f"{name}: {name.partition('://')[0]}:// is not read. Allowed: a file, http(s)://, open-mmlab://, "
            "torchvision://, mmcls://. Download the file and give its path"
        )
    return resolve_local(name)


def _read_safetensors(file: Path, map_location: Any) -> dict[str, Any]:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as e:
        raise CheckpointError(f"{file}: reading it needs the package safetensors: pip install safetensors") from e
    device = str(map_location) if isinstance(map_location, str) else "cpu"
    try:
        _check_safetensors(file)
        with safe_open(str(file), framework="pt", device=device) as f:
            weights = {key: f.get_tensor(key) for key in f.keys()}  # noqa: SIM118 - not a dictionary
            header = dict(f.metadata() or {})
    except SafetensorError as e:
        raise CheckpointError(f"{file}: not a readable .safetensors file ({e}); copy or download it again") from e
    meta: dict[str, Any] = {}
    header.pop(CHECKSUM, None)
    for key, value in header.items():
        try:
            meta[key] = json.loads(value)
        except (ValueError, RecursionError):
            meta[key] = value
    return {"state_dict": weights, "meta": meta}


def _check_safetensors(file: Path) -> None:
    """Compare the tensors with the checksum in the header, where there is one: the format itself has none."""
    with open(file, "rb") as f:
        length = int.from_bytes(f.read(8), "little")
        if length > min(_LONGEST_HEADER, file.stat().st_size):
            return  # whoever reads it next says what is wrong
        try:
            announced = json.loads(f.read(length))["__metadata__"][CHECKSUM]
        except (ValueError, KeyError, TypeError, RecursionError):
            return
        found = 0
        while chunk := f.read(1 << 20):
            found = zlib.crc32(chunk, found)
    if f"{found:08x}" != announced:
        raise CheckpointError(
            f"{file}: the checkpoint is damaged: the checksum of its tensors is {found:08x}, and {announced} was "
            "written. Copy or download it again"
        )


def normalise_checkpoint(content: Any, name: str = "checkpoint") -> dict[str, Any]:
    """Bring any form of checkpoint to one.

    A bare state dict is wrapped. ``meta['dataset_meta']`` has ``classes`` and ``palette`` in lower case, whether the
    file is of mmengine (any version) or of mmsegmentation 0.x, which wrote ``CLASSES`` and ``PALETTE`` into ``meta``.
    ``meta['config']`` is dropped: mmengine's resume would run it as Python. Changes ``content``.

    Args:
        content: what the file held.
        name: what to call it in errors.

    Raises:
        CheckpointError: it holds no weights.
    """
    import torch

    if not isinstance(content, dict):
        raise CheckpointError(f"{name}: holds a {type(content).__name__}, not a dictionary of weights")
    found = list(content)
    if "state_dict" not in content:
        for key in ("model", "model_state", "model_state_dict"):
            if isinstance(content.get(key), dict):
                content = {**content, "state_dict": content[key]}
                break
        else:
            content = {"state_dict": content}
    weights = content["state_dict"]
    if not isinstance(weights, dict) or not any(isinstance(v, torch.Tensor) for v in weights.values()):
        keys = shortened(", ".join(map(str, found[:8])), 200)
        raise CheckpointError(f"{name}: holds no weights (keys: {keys}); expected name -> tensor under `state_dict`")
    content["meta"] = normalise_meta(content.get("meta"), name)
    return content


def install_safe_loader() -> None:
    """Make mmengine load every checkpoint of this process through :func:`load_checkpoint_file`."""
    from mmengine.runner.checkpoint import CheckpointLoader

    # mmengine logs the loader's name from the tenth character on.
    def load_from_gcseg(filename: str, map_location: Any = None) -> dict[str, Any]:
        return load_checkpoint_file(filename, map_location=map_location or "cpu")

    prefixes = ["", "http://", "https://", *_HUBS, *_REFUSED_SCHEMES]
    CheckpointLoader.register_scheme(prefixes, load_from_gcseg, force=True)
