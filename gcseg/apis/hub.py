"""Models on the Hugging Face hub: a repository of the files that :mod:`gcseg.apis.pretrained` writes, and a card."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn

from gcseg.apis.pretrained import CONFIG, WEIGHTS, describe, save_pretrained, unwrapped
from gcseg.utils.errors import CheckpointError, WeightsNotFoundError

CARD = "README.md"
_FILES = [CONFIG, WEIGHTS, CARD]

_TEMPLATE = """\
---
library_name: gcseg
pipeline_tag: image-segmentation
tags:
- gcseg
- semantic-segmentation
---

# {name}

{head} on {backbone}, a model for semantic segmentation with {classes} classes, {millions:.1f} million parameters.

```python
import gcseg.apis

model = gcseg.from_pretrained("{repo}")
{usage}
```

| label | class |
|---|---|
{rows}
"""
_FROM_PHOTOGRAPH = """\
result = gcseg.apis.inference_model(model, "photograph.jpg")
labels = result.pred_sem_seg.data  # (1, H, W) int64, the class of each pixel
gcseg.apis.show_result_pyplot(model, "photograph.jpg", result)"""
_FROM_TENSOR = """\
images = model.data_preprocessor({"inputs": images})["inputs"]  # (N, C, H, W), in the values of the training
labels = [sample.pred_sem_seg.data for sample in model.predict(images)]  # (1, H, W) int64 each"""


def push_to_hub(
    model: nn.Module,
    repo_id: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    commit_message: str = "Upload a model of gcseg",
) -> str:
    """Upload a model to the Hugging Face hub, from where ``from_pretrained(repo_id)`` makes it again.

    The repository is made if there is none, and gets ``config.json``, ``model.safetensors`` and, if it has none yet, a
    model card. Who you are is what ``hf auth login`` or the variable ``HF_TOKEN`` says.

    Args:
        model: see :func:`gcseg.save_pretrained`.
        repo_id: ``"user/name"``.
        private: whether a new repository is private; by default what the account says.
        revision: branch to write to; by default the main one.
        commit_message: of the upload.

    Returns:
        The address of the commit.

    Raises:
        CheckpointError: huggingface_hub is not installed, or the upload fails.
        ConfigError: the model cannot be saved.
    """
    hub = _huggingface_hub(f"{repo_id}: uploading")
    with TemporaryDirectory() as folder:
        save_pretrained(model, folder)
        try:
            api = hub.HfApi()
            api.create_repo(repo_id, private=private, exist_ok=True)
            if not api.file_exists(repo_id, CARD, revision=revision):
                (Path(folder) / CARD).write_text(model_card(model, repo_id), encoding="utf-8")
            commit = api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                revision=revision,
                commit_message=commit_message,
                allow_patterns=_FILES,
            )
        except Exception as e:  # of the client's many kinds
            reason = f"{type(e).__name__}: {e}".rstrip(".")
            raise CheckpointError(
                f"{repo_id}: the upload failed: {reason}. The name is 'user/name', and `hf auth login` says who you are"
            ) from e
    return str(getattr(commit, "commit_url", commit))


def download(repo_id: str, revision: str | None) -> Path:
    """The folder with the files of a model on the hub; no other files are fetched.

    Raises:
        CheckpointError: huggingface_hub is not installed.
        WeightsNotFoundError: it cannot be fetched.
    """
    hub = _huggingface_hub(f"{repo_id}: there is no such folder, and loading it")
    try:
        return Path(hub.snapshot_download(repo_id, revision=revision, allow_patterns=_FILES))
    except Exception as e:  # of the client's many kinds
        raise WeightsNotFoundError(
            f"{repo_id}: no such folder, and it cannot be had from the hub: {type(e).__name__}: {e}"
        ) from e


def _huggingface_hub(what: str) -> Any:
    try:
        return import_module("huggingface_hub")
    except ImportError as e:
        raise CheckpointError(
            f"{what} from or to the hub needs the package huggingface_hub: pip install huggingface_hub"
        ) from e


def model_card(model: nn.Module, repo_id: str) -> str:
    """The text of ``README.md`` on the hub: what the model is, its classes, and how to use it."""
    model = unwrapped(model)
    content = describe(model)
    classes = content["dataset_meta"]["classes"]
    cells = (" ".join(name.split()).replace("|", "\\|") for name in classes)
    backbone: Any = model.backbone
    depth = getattr(backbone, "depth", None)
    return _TEMPLATE.format(
        name=repo_id.rpartition("/")[2],
        repo=repo_id,
        usage=_FROM_PHOTOGRAPH if "test_pipeline" in content else _FROM_TENSOR,
        head=type(model.decode_head).__name__,
        backbone=type(backbone).__name__ + (f"-{depth}" if depth else ""),
        classes=len(classes),
        millions=sum(p.numel() for p in model.parameters()) / 1e6,
        rows="\n".join(f"| {i} | {cell} |" for i, cell in enumerate(cells)),
    )
