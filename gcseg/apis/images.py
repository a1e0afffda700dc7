"""What may be given as an image, and the pipeline that prepares it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gcseg.config_build import built_from
from gcseg.utils.errors import ConfigError, DataError

if TYPE_CHECKING:
    from mmengine.config import Config

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
_ANNOTATION_LOADERS = {"LoadAnnotations", "LoadDepthAnnotation"}
_IMAGE_LOADER = "LoadImageFromFile"


def is_image(value: Any) -> bool:
    """Whether ``value`` is one image in a form that :func:`as_input` takes, and not a list of them."""
    from PIL import Image

    return isinstance(value, str | os.PathLike | np.ndarray | Image.Image)


def as_input(image: Any) -> str | np.ndarray:
    """One image as the pipeline takes it.

    Args:
        image: a path or URL; an array (H, W, 3) uint8 in BGR order, OpenCV's, or (H, W) grey, or (H, W, C) for a model
            of other channels; or a PIL image.

    Returns:
        The path, or (H, W, C) uint8, BGR where C is 3.

    Raises:
        DataError: an array of another shape or dtype, or a PIL image of more than 8 bits per channel.
        TypeError: something else.
    """
    from PIL import Image, ImageOps

    if isinstance(image, str | os.PathLike):
        return os.fspath(image)
    if isinstance(image, Image.Image):
        if image.mode.startswith(("I", "F")):  # which Pillow would cut off at 255
            raise DataError(f"a PIL image has 8 bits per channel; received mode {image.mode!r}: scale it to 0 to 255")
        return np.ascontiguousarray(np.asarray(ImageOps.exif_transpose(image).convert("RGB"))[:, :, ::-1])
    if isinstance(image, np.ndarray):
        if image.ndim == 3 and image.shape[2] == 1:
            image = image[:, :, 0]
        if image.ndim == 2:
            image = np.repeat(image[:, :, None], 3, axis=2)
        channels_first = image.ndim == 3 and image.shape[0] <= 4 < image.shape[2]
        if image.ndim != 3 or channels_first or 0 in image.shape:
            hint = "; image.transpose(1, 2, 0) puts the channels last" if channels_first else ""
            raise DataError(
                f"an image array is (H, W, 3) in BGR order or (H, W) grey; received shape {image.shape}{hint}"
            )
        if image.dtype != np.uint8:
            raise DataError(f"an image array is uint8, 0 to 255; received {image.dtype}")
        return image
    raise TypeError(f"an image is a path, an array or a PIL image; received {type(image).__name__}")


def list_inputs(inputs: Any) -> list[Any]:
    """Spread what an inferencer is given into single images.

    Args:
        inputs: an image (see :func:`as_input`), a folder, whose image files are taken in the order of their names, or a
            list of images and folders.

    Raises:
        DataError: a folder without images.
        TypeError: none of these.
    """
    if isinstance(inputs, Sequence) and not isinstance(inputs, str):
        return [image for part in inputs for image in list_inputs(part)]
    if isinstance(inputs, str | os.PathLike) and Path(inputs).is_dir():
        files = sorted(f for f in Path(inputs).iterdir() if f.suffix.lower() in IMAGE_SUFFIXES and f.is_file())
        if not files:
            raise DataError(f"{inputs}: the folder has no images ({', '.join(IMAGE_SUFFIXES)})")
        return [str(f) for f in files]
    if not is_image(inputs):
        raise TypeError(
            f"inputs are a path, a folder, an array, a PIL image, or a list of these; received {type(inputs).__name__}"
        )
    return [inputs]


def photograph(image: Any) -> np.ndarray:
    """The pixels of an image to paint on, (H, W, 3) uint8 RGB; ``image`` as for :func:`as_input`.

    Of an array of more channels the first three are taken for BGR, and of one of two the first for grey.

    Raises:
        DataError: the file cannot be read.
    """
    image = as_input(image)
    if isinstance(image, str):
        from gcseg.datasets.transforms import LoadImageFromFile

        image = LoadImageFromFile().transform({"img_path": image})["img"]
    colours = image[:, :, :3] if image.shape[2] > 2 else image[:, :, [0, 0, 0]]
    return np.ascontiguousarray(colours[:, :, ::-1])


def find_test_pipeline(cfg: Config) -> list[dict]:
    """A copy of the config's test pipeline without the loading of labels.

    The one of ``test_dataloader`` is used by testing, so it comes first; ``test_pipeline`` and the validation's follow.

    Raises:
        ConfigError: there is none, or it does not begin by loading an image file.
    """
    import copy

    for name in ("test_dataloader", "test_pipeline", "val_dataloader"):
        pipeline = cfg.get(name)
        if isinstance(pipeline, dict):
            pipeline = inner_dataset(pipeline.get("dataset") or {}).get("pipeline")
        if pipeline:
            break
    else:
        raise ConfigError(
            f"{cfg.filename or 'the config'}: prediction needs the test pipeline, in "
            "test_dataloader.dataset.pipeline or as test_pipeline; for a model of create_model whose images have other "
            "channels than 1 or 3, set model.cfg.test_pipeline to your own"
        )
    kept = [copy.deepcopy(t) for t in pipeline if t.get("type") not in _ANNOTATION_LOADERS]
    if not any(t.get("type") == _IMAGE_LOADER for t in kept):
        kinds = ", ".join(str(t.get("type")) for t in kept)
        raise ConfigError(f"{cfg.filename or 'the config'}: no {_IMAGE_LOADER} in the test pipeline ({kinds})")
    return kept


def inner_dataset(dataset: Any) -> dict:
    """The data set inside wrappers (``RepeatDataset``, ``ConcatDataset`` ...); of several, the first."""
    while isinstance(dataset, dict) and ("dataset" in dataset or "datasets" in dataset):
        inner = dataset.get("dataset", dataset.get("datasets"))
        dataset = inner[0] if isinstance(inner, list | tuple) else inner
    return dataset if isinstance(dataset, dict) else {}


def find_tta_pipeline(cfg: Config) -> list[dict]:
    """A copy of the config's ``tta_pipeline`` without the loading of labels.

    Raises:
        ConfigError: there is none.
    """
    import copy

    if not cfg.get("tta_pipeline"):
        raise ConfigError(
            f"{cfg.filename or 'the config'}: several views of an image need `tta_pipeline`, with a TestTimeAug "
            "transform; the recipes in configs/ show it"
        )
    pipeline = copy.deepcopy([dict(t) for t in cfg.tta_pipeline if t.get("type") not in _ANNOTATION_LOADERS])
    for step in pipeline:
        if step.get("type") == "TestTimeAug":
            kept = [[t for t in steps if t.get("type") not in _ANNOTATION_LOADERS] for steps in step["transforms"]]
            step["transforms"] = [steps for steps in kept if steps]
    return pipeline


def build_preparation(cfg: Config, tta: bool = False) -> Callable[[Any], dict]:
    """A function from an image (see :func:`as_input`) to ``dict(inputs=Tensor (C, H, W), data_samples=...)``.

    Args:
        cfg: a checked config.
        tta: make the views of test-time augmentation: ``inputs`` and ``data_samples`` are lists of them.

    Raises:
        ConfigError: see :func:`find_test_pipeline` and :func:`find_tta_pipeline`.
    """
    from mmengine.registry import DefaultScope

    from gcseg.registry import SCOPE, TRANSFORMS

    for_files = find_tta_pipeline(cfg) if tta else find_test_pipeline(cfg)
    for_arrays = [{**t, "type": "LoadImageFromNDArray"} if t.get("type") == _IMAGE_LOADER else t for t in for_files]
    with DefaultScope.overwrite_default_scope(SCOPE), built_from(cfg):
        file_steps = [TRANSFORMS.build(t) for t in for_files]
        array_steps = [TRANSFORMS.build(t) for t in for_arrays]

    def prepare(image: Any) -> dict:
        image = as_input(image)
        results: Any = {"img_path": image} if isinstance(image, str) else {"img": image}
        for step in file_steps if isinstance(image, str) else array_steps:
            results = step(results)
        return results

    return prepare
