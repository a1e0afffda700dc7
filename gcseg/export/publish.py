"""A training checkpoint made fit for others: weights and names, no optimizer, and its own hash in its name."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from gcseg.utils.errors import CheckpointError
from gcseg.utils.plain import plain
from gcseg.utils.writable import writing

_KEPT_META = ("cfg", "dataset_meta", "epoch", "iter", "mmengine_version", "seed")
_HASH_AT_END = re.compile(r"-[0-9a-f]{8}$")
_SUFFIXES = (".pth", ".safetensors")


def publish_checkpoint(in_file: str | os.PathLike, out_file: str | os.PathLike) -> Path:
    """Write the weights of a checkpoint to a file that carries the start of its own sha256 in its name.

    With an ``EMAHook`` they are the averaged ones, which such a run keeps under ``state_dict``.

    Kept are the weights and, of ``meta``, the config, the classes, iteration, epoch, seed and version. Optimizer,
    schedulers and logs are left out, as are times, paths and experiment names.

    Args:
        in_file: checkpoint, in any form that ``load_checkpoint_file`` reads; it is not changed.
        out_file: the new file, whose suffix ``.pth`` or ``.safetensors`` says the format; a hash that stands at the end
            of the name is replaced.

    Returns:
        The file written: ``<out_file without suffix>-<first 8 digits of its sha256><suffix>``.

    Raises:
        CheckpointError: the suffix is another one, or ``in_file`` cannot be used.
    """
    from gcseg.engine.checkpoint import load_checkpoint_file
    from gcseg.engine.state_dict import STRIP_MODULE, revise
    from gcseg.utils.atomic import write_atomically

    out = Path(out_file).expanduser()
    if out.suffix not in _SUFFIXES:
        raise CheckpointError(f"{out}: published checkpoints end in {' or '.join(_SUFFIXES)}")
    checkpoint = load_checkpoint_file(in_file)
    weights = {k: v.contiguous().clone() for k, v in revise(checkpoint["state_dict"], STRIP_MODULE).items()}
    meta = {key: checkpoint["meta"][key] for key in _KEPT_META if checkpoint["meta"].get(key) is not None}
    content = safetensors_bytes(weights, meta) if out.suffix == ".safetensors" else _torch_bytes(weights, meta)

    digest = hashlib.sha256(content).hexdigest()[:8]
    final = out.with_name(f"{_HASH_AT_END.sub('', out.stem)}-{digest}{out.suffix}")
    with writing(final, CheckpointError):
        write_atomically(final, content)
    return final


def _torch_bytes(weights: Mapping[str, torch.Tensor], meta: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()  # a file would write its own name into the archive, and so into the hash
    torch.save({"meta": dict(meta), "state_dict": dict(weights)}, buffer)
    return buffer.getvalue()


def safetensors_bytes(weights: Mapping[str, torch.Tensor], meta: Mapping[str, Any]) -> bytes:
    """The content of a ``.safetensors`` file with a checksum, which ``load_checkpoint_file`` compares.

    Args:
        weights: name -> tensor, contiguous, each with memory of its own.
        meta: what the file says of itself, as JSON.

    Raises:
        CheckpointError: the package safetensors is not installed.
    """
    from gcseg.engine.checkpoint import CHECKSUM

    try:
        from safetensors.torch import save
    except ImportError as e:
        raise CheckpointError("writing .safetensors needs the package safetensors: pip install safetensors") from e
    # The header holds text alone; the loader reads each value back as JSON.
    header = {key: json.dumps(plain(value)) for key, value in meta.items()}
    content = save(dict(weights), metadata={**header, CHECKSUM: "0" * 8})
    start = 8 + int.from_bytes(content[:8], "little")
    checksum = f"{zlib.crc32(memoryview(content)[start:]):08x}"
    # The same length, so that nothing else moves.
    place, filled = (f'"{CHECKSUM}":"{digits}"'.encode() for digits in ("0" * 8, checksum))
    return content[:start].replace(place, filled) + content[start:]
