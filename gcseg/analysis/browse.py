"""What a pipeline makes of a data set, as pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gcseg.config import load_config
from gcseg.config_build import built_from
from gcseg.utils.errors import ConfigError
from gcseg.utils.progress import progress

if TYPE_CHECKING:
    from mmengine.config import Config

_SPLITS = ("train", "val", "test")


def browse_dataset(
    config: str | os.PathLike | Config,
    out: str | os.PathLike | None = None,
    *,
    split: str = "train",
    count: int | None = 20,
    repeats: int = 1,
    seed: int = 0,
    opacity: float = 0.5,
    show: bool = False,
    wait_time: float = 0,
    cfg_options: dict[str, Any] | None = None,
) -> list[Path]:
    """Paint items as they come out of the pipeline: what the model is given, and its labels, side by side.

    Args:
        config: a path, the name of a packaged recipe, or a ``Config``.
        out: folder for ``<index>_<name of the image>.png``; with ``repeats``, ``<index>_<repeat>_...``.
        split: train, val or test.
        count: the first so many items; None paints all.
        repeats: each item so many times, with other augmentations.
        seed: of the augmentations: the same seed gives the same pictures.
        opacity: share of the colour over the image, 0 to 1.
        show: open a window for each picture.
        wait_time: seconds before a window gives way; 0 waits for a key.
        cfg_options: overrides with dotted keys.

    Returns:
        The files that were written.

    Raises:
        ConfigError: an option, or the config, is wrong.
        DataError: an image cannot be read.
        HardwareError: ``show`` without a display.
    """
    from gcseg.visualization.display import require_display
    from gcseg.visualization.local_visualizer import SegLocalVisualizer, write_picture
    from gcseg.visualization.panel import paint_panel

    if out is None and not show:
        raise ConfigError("browse_dataset: nowhere to paint to; give out=FOLDER, or show=True")
    if repeats < 1 or (count is not None and count < 1):
        raise ConfigError(f"browse_dataset: count={count}, repeats={repeats}: at least 1 is needed")
    if show:
        require_display("write files instead: --out FOLDER")
    cfg = load_config(config, cfg_options)
    dataset = _build(cfg, split)
    meta = dataset.metainfo
    total = len(dataset) if count is None else min(count, len(dataset))
    visualizer = SegLocalVisualizer(classes=meta["classes"], palette=meta["palette"]) if show else None
    files = []
    bar = progress(_items(dataset, total, repeats, seed), total=total * repeats, desc="painting", unit="image")
    for index, repeat, item in bar:
        sample = item["data_samples"]
        image = as_picture(item["inputs"], _is_rgb(cfg))
        labels = sample.gt_sem_seg.data if "gt_sem_seg" in sample else None
        if labels is not None and tuple(labels.shape[-2:]) != image.shape[:2]:  # of a test: at the size of the file
            image = _resized(image, tuple(labels.shape[-2:]))
        titles = ("as the model gets it", "labels", "")
        picture = paint_panel(
            image, labels, classes=meta["classes"], palette=meta["palette"], alpha=opacity, titles=titles
        )
        stem = Path(str(sample.metainfo.get("img_path") or "image")).stem
        name = f"{index:06d}_{repeat}_{stem}" if repeats > 1 else f"{index:06d}_{stem}"
        if out is not None:
            files.append(write_picture(picture, Path(out).expanduser() / f"{name}.png"))
        if visualizer is not None:
            visualizer.show(picture, win_name=name, wait_time=wait_time)
    return files


def as_picture(inputs: Any, is_rgb: bool) -> np.ndarray:
    """An image of a pipeline to look at.

    Args:
        inputs: (C, H, W) tensor. Values from 0 to 255 stay as they are; others, of a pipeline that normalises, are
            stretched to that range.
        is_rgb: whether red is the first channel; other numbers of channels than three are shown in grey, the first one.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    array = inputs.permute(1, 2, 0).numpy()
    if array.shape[2] == 3:
        array = array if is_rgb else array[:, :, ::-1]
    else:
        array = np.repeat(array[:, :, :1], 3, axis=2)
    if array.dtype != np.uint8:
        low, high = float(array.min()), float(array.max())
        if low < 0 or high > 255 or high <= 1:
            array = (array - low) * (255 / max(high - low, 1e-12))
        array = array.round().clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(array)


def _build(cfg: Config, split: str) -> Any:
    from mmengine.registry import DefaultScope

    from gcseg.registry import DATASETS, SCOPE

    if split not in _SPLITS or not cfg.get(f"{split}_dataloader"):
        there = ", ".join(name for name in _SPLITS if cfg.get(f"{name}_dataloader")) or "none"
        raise ConfigError(f"{cfg.filename or 'the config'}: no {split}_dataloader; it has those of: {there}")
    with DefaultScope.overwrite_default_scope(SCOPE), built_from(cfg):
        dataset = DATASETS.build(cfg[f"{split}_dataloader"]["dataset"])
    dataset.full_init()
    return dataset


def _items(dataset: Any, total: int, repeats: int, seed: int) -> Iterator[tuple[int, int, dict]]:
    from gcseg.engine.stream import generators_seeded

    for index in range(total):
        for repeat in range(repeats):
            with generators_seeded(seed, index, repeat):
                item = dataset[index]
            yield index, repeat, item


def _is_rgb(cfg: Config) -> bool:
    """The preprocessor's swap tells what the pipeline yields: mmcv reads blue first, and RGB is what the model gets."""
    preprocessor = (cfg.get("model") or {}).get("data_preprocessor") or {}
    return not preprocessor.get("bgr_to_rgb", False)


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    import cv2

    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
