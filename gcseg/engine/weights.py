"""Where weights come from: a folder of one's own, then the network.

A name such as ``open-mmlab://resnet50_v1c`` or ``torchvision://resnet18`` is looked up in mmengine's tables and becomes
a URL; a URL becomes a file. The folder named by the environment variable ``GCSEG_WEIGHTS`` (or
:func:`set_weights_folder`, or ``weights_dir`` in a config) is searched first, by file name, so that machines without a
network need no changed config.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import os
import re
import urllib.parse
from pathlib import Path
from typing import BinaryIO

from gcseg.config import WEIGHTS_SUFFIXES
from gcseg.engine.download import Fetch, download
from gcseg.utils.errors import CheckpointError, WeightsNotFoundError
from gcseg.utils.names import nearest, unknown_name_message

ENVIRONMENT_VARIABLE = "GCSEG_WEIGHTS"
_SUFFIX = "|".join(map(re.escape, (*WEIGHTS_SUFFIXES, ".pkl")))  # detectron's files are .pkl
_HASH_IN_NAME = re.compile(rf"-([0-9a-f]{{8,64}})(?:{_SUFFIX})(?:\.tar)?$")
_CHUNK = 1 << 20
_folder: Path | None = None


def set_weights_folder(folder: str | os.PathLike | None) -> None:
    """Name the folder that is searched first in this process; None goes back to the environment variable."""
    global _folder
    _folder = Path(folder).expanduser() if folder else None


def weights_folder() -> Path:
    """The folder searched first and downloaded into: one's own, or else torch.hub's checkpoint cache."""
    if _folder is not None:
        return _folder
    if os.environ.get(ENVIRONMENT_VARIABLE):
        return Path(os.environ[ENVIRONMENT_VARIABLE]).expanduser()
    from torch.hub import get_dir

    return Path(get_dir()) / "checkpoints"


def resolve_local(path: str | os.PathLike) -> Path:
    """The file itself, or a file of that name in the weights folder.

    Raises:
        WeightsNotFoundError: neither exists; the message has the nearest names in the same folder.
    """
    wanted = Path(path).expanduser()
    if wanted.is_file():
        return wanted
    in_folder = weights_folder() / wanted.name
    if in_folder.is_file():
        return in_folder
    if wanted.is_dir():
        folder, kind = wanted, "is a folder, not a checkpoint file"
        files = sorted(folder.iterdir(), key=_newest_first)
        close = [f.name for f in files if f.suffix.lower() in WEIGHTS_SUFFIXES][:4]
    else:
        folder, kind = wanted.parent, "there is no such checkpoint file"
        close = nearest(wanted.name, [f.name for f in folder.iterdir()] if folder.is_dir() else [])
    hint = f" In {folder} there is {', '.join(close)}." if close else ""
    raise WeightsNotFoundError(
        f"{path}: {kind}, and none called {wanted.name} in the weights folder {weights_folder()}.{hint}"
    )


def _newest_first(file: Path) -> float:
    return -file.stat().st_mtime if file.is_file() else 0


def resolve_url(url: str, fetch: Fetch | None = None, folder: str | os.PathLike | None = None) -> Path:
    """The local file of a URL: found by name in the weights folder or torch.hub's cache, or downloaded into the first.

    Eight or more hexadecimal digits at the end of the file name are the start of the file's sha256 and are checked.
    See :func:`~gcseg.engine.download.download`; processes that want the same file take turns.

    Args:
        url: http or https.
        fetch: see :func:`~gcseg.engine.download.download`.
        folder: look there alone, and download into it.

    Raises:
        WeightsNotFoundError: not on disk and the network cannot be reached; says where to put the file by hand.
        CheckpointError: the file's hash is not the one its name announces.
    """
    from torch.hub import get_dir

    name = Path(urllib.parse.unquote(urllib.parse.urlparse(url).path)).name
    if name in ("", ".."):
        raise WeightsNotFoundError(f"{url} names no file; give the address of a file of weights")
    folders = [weights_folder(), Path(get_dir()) / "checkpoints"] if folder is None else [Path(folder).expanduser()]
    for candidate in (place / name for place in folders):
        if candidate.is_file():
            with open(candidate, "rb") as file:
                _check_hash(file, candidate, name)
            return candidate
    target = folders[0] / name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target.with_name(f".{name}.lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.is_file():
                is_named = _HASH_IN_NAME.search(name)
                download(url, target, (lambda file: _check_hash(file, target, name)) if is_named else None, fetch)
    except (OSError, ValueError, http.client.HTTPException) as e:
        reason = getattr(e, "reason", None) or e
        raise WeightsNotFoundError(
            f"weights {name} are not on disk and {url} cannot be downloaded ({reason}). Fetch that URL on a machine "
            f"with a network and put the file, under the name {name}, into {target.parent} (or set "
            f"{ENVIRONMENT_VARIABLE} to the folder that has it)"
        ) from e
    return target


def _check_hash(content: BinaryIO, file: Path, name: str) -> None:
    announced = _HASH_IN_NAME.search(name)
    if not announced:
        return
    digest = hashlib.sha256()
    while chunk := content.read(_CHUNK):
        digest.update(chunk)
    found = digest.hexdigest()
    if not found.startswith(announced[1]):
        raise CheckpointError(
            f"{file}: sha256 begins with {found[: len(announced[1])]}, but the name announces {announced[1]}; the "
            "file is damaged or cut off: delete it and download it again"
        )


def hub_url(kind: str, name: str) -> str:
    """The URL of a named set of weights in mmengine's tables.

    Args:
        kind: ``"open-mmlab"``, ``"torchvision"`` or ``"mmcls"``.
        name: such as ``"resnet50_v1c"``.

    Raises:
        WeightsNotFoundError: unknown kind or name; the message has the nearest ones.
    """
    tables = {"open-mmlab": _open_mmlab_urls, "torchvision": _torchvision_urls, "mmcls": _mmcls_urls}
    if kind not in tables:
        raise WeightsNotFoundError(unknown_name_message("source of weights", kind, tables))
    table = tables[kind]()
    if name not in table:
        raise WeightsNotFoundError(unknown_name_message(f"{kind} weights", name, table))
    return table[name]


def _hub_table(file: str) -> dict[str, str]:
    import mmengine
    from mmengine.fileio import load

    return load(Path(mmengine.__file__).parent / "hub" / file)


def _open_mmlab_urls() -> dict[str, str]:
    urls = _hub_table("openmmlab.json")
    for old, new in _hub_table("deprecated.json").items():
        if new in urls:
            urls.setdefault(old, urls[new])
    return urls


def _mmcls_urls() -> dict[str, str]:
    return _hub_table("mmcls.json")


def _torchvision_urls() -> dict[str, str]:
    urls = _hub_table("torchvision_0.12.json")
    try:
        from torchvision import models
    except (ImportError, RuntimeError):  # a torchvision built for another torch raises RuntimeError
        return urls
    for weights in (models.get_model_weights(name) for name in models.list_models(models)):
        kind = weights.__name__.replace("_Weights", "").lower()
        for entry in weights:
            urls[f"{kind}.{entry.name.lower()}"] = entry.url
            urls[f"{weights.__name__}.{entry.name}"] = entry.url
    return urls
