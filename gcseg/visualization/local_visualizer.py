"""The visualizer that configs name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import master_only
from mmengine.visualization import Visualizer

from gcseg.metainfo import get_classes, get_palette
from gcseg.registry import VISUALIZERS
from gcseg.utils.errors import ConfigError
from gcseg.visualization.display import require_display
from gcseg.visualization.paint import check_image, generate_palette, label_regions, overlay
from gcseg.visualization.panel import paint_panel


@VISUALIZERS.register_module()
class SegLocalVisualizer(Visualizer):
    """Paints segmentations and hands the pictures to mmengine's backends (files, TensorBoard).

    Classes and palette are, in this order of preference: the arguments; those of ``dataset_name``; Cityscapes'.
    mmengine's loops replace them by the data set's through ``dataset_meta``.

    Args:
        name: name of the instance.
        image: picture to draw on, (H, W, 3) uint8 RGB.
        vis_backends: configs of the backends that keep the pictures.
        save_dir: folder of the backends; pictures of ``LocalVisBackend`` go to ``save_dir/vis_data/vis_image``.
        classes: names of the classes.
        palette: one RGB colour for each; made up when only ``classes`` is given.
        dataset_name: a data set that gcseg knows, or an alias, for classes and palette.
        alpha: share of the colour over the photograph, 0 to 1.
        **kwargs: passed on to mmengine's ``Visualizer``.

    Raises:
        ConfigError: there are not as many colours as classes, or ``alpha`` is out of range.
    """

    def __init__(
        self,
        name: str = "visualizer",
        image: np.ndarray | None = None,
        vis_backends: list | dict | None = None,
        save_dir: str | None = None,
        classes: Sequence[str] | None = None,
        palette: Sequence[Sequence[int]] | None = None,
        dataset_name: str | None = None,
        alpha: float = 0.8,
        **kwargs: Any,
    ) -> None:
        super().__init__(name, image, vis_backends, save_dir, **kwargs)
        if not 0 <= alpha <= 1:
            raise ConfigError(f"SegLocalVisualizer: alpha is the share of the colour, 0 to 1; received {alpha}")
        self.alpha = alpha
        self.set_dataset_meta(classes, palette, dataset_name)

    def set_dataset_meta(
        self,
        classes: Sequence[str] | None = None,
        palette: Sequence[Sequence[int]] | None = None,
        dataset_name: str | None = None,
    ) -> None:
        """Set class names and colours; see the class for what stands in for None.

        Raises:
            ConfigError: there are not as many colours as classes.
            DataError: ``dataset_name`` is not known.
        """
        if not classes:
            classes = get_classes(dataset_name or "cityscapes")
            palette = palette or get_palette(dataset_name or "cityscapes")
        elif not palette:
            named = get_palette(dataset_name) if dataset_name else []
            palette = named if len(named) == len(classes) else generate_palette(len(classes))
        if len(classes) != len(palette):
            raise ConfigError(
                f"SegLocalVisualizer: {len(classes)} classes but {len(palette)} colours; give one RGB colour per class"
            )
        self.dataset_meta: dict[str, Any] = {"classes": tuple(classes), "palette": [list(colour) for colour in palette]}

    @master_only
    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: Any = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        show: bool = False,
        wait_time: float = 0,
        out_file: str | os.PathLike | None = None,
        step: int = 0,
        with_labels: bool | None = True,
        with_image: bool = False,
    ) -> np.ndarray:
        """Paint a sample's ground truth (left) and prediction (right), as far as it has them.

        Args:
            name: name of the picture for the backends, and title of the window.
            image: photograph, (H, W, 3) uint8 RGB.
            data_sample: a ``SegDataSample`` with ``gt_sem_seg`` and / or ``pred_sem_seg`` of the photograph's size.
            draw_gt: paint the ground truth.
            draw_pred: paint the prediction.
            show: open a window.
            wait_time: seconds before the window gives way; 0 waits for a key.
            out_file: write the picture here instead of handing it to the backends.
            step: counted by the backends.
            with_labels: write the names of the classes into their regions.
            with_image: put the photograph before the maps.

        Returns:
            What was painted, (H, W', 3) uint8 RGB; None on other processes than the main one.

        Raises:
            DataError: a map has not the photograph's size.
            HardwareError: ``show`` without a display.
        """
        if show:
            require_display()
        image = check_image(image)
        tiles = [self._paint(image, labels, with_labels) for labels in self._maps(data_sample, draw_gt, draw_pred)]
        if with_image or not any(t is not None for t in tiles):
            tiles.insert(0, image)
        picture = np.concatenate([t for t in tiles if t is not None], axis=1)
        self._emit(name, picture, show, wait_time, out_file, step)
        return picture

    @master_only
    def add_panel(
        self,
        name: str,
        image: np.ndarray,
        data_sample: Any,
        show: bool = False,
        wait_time: float = 0,
        out_file: str | os.PathLike | None = None,
        step: int = 0,
        save: bool = True,
    ) -> np.ndarray:
        """Paint photograph, ground truth and prediction side by side with a legend (see :func:`paint_panel`).

        Args:
            name, image, data_sample, show, wait_time, out_file, step: as for :meth:`add_datasample`.
            save: hand the picture to the backends (or ``out_file``).

        Returns:
            What was painted, (H', W', 3) uint8 RGB; None on other processes than the main one.

        Raises:
            DataError: a map has not the photograph's size.
            HardwareError: ``show`` without a display.
        """
        if show:
            require_display()
        classes, palette = self._classes_and_palette()
        truth, prediction = self._maps(data_sample, True, True)
        panel = paint_panel(image, truth, prediction, classes=classes, palette=palette, alpha=self.alpha)
        self._emit(name, panel, show, wait_time, out_file, step, save)
        return panel

    @master_only
    def show(
        self,
        drawn_img: np.ndarray | None = None,
        win_name: str = "image",
        wait_time: float = 0.0,
        continue_key: str = " ",
        backend: str = "matplotlib",
    ) -> Any:
        """Open a window with a picture; the arguments are mmengine's.

        Raises:
            HardwareError: there is no display.
        """
        require_display()
        return super().show(drawn_img, win_name, wait_time, continue_key, backend)

    def _emit(
        self,
        name: str,
        picture: np.ndarray,
        show: bool,
        wait_time: float,
        out_file: str | os.PathLike | None,
        step: int,
        save: bool = True,
    ) -> None:
        self.set_image(picture)
        if show:
            self.show(picture, win_name=name, wait_time=wait_time)
        if save and out_file is not None:
            write_picture(picture, out_file)
        elif save:
            self.add_image(name, picture, step)

    def _maps(self, data_sample: Any, draw_gt: bool, draw_pred: bool) -> list[Any]:
        """Ground truth and prediction of a sample, None for what it lacks or what is not wanted."""
        wanted = (("gt_sem_seg", draw_gt), ("pred_sem_seg", draw_pred))
        return [
            getattr(data_sample, key).data if draw and data_sample is not None and key in data_sample else None
            for key, draw in wanted
        ]

    def _paint(self, image: np.ndarray, labels: Any, with_labels: bool | None) -> np.ndarray | None:
        if labels is None:
            return None
        classes, palette = self._classes_and_palette()
        painted = overlay(image, labels, palette, self.alpha)
        return label_regions(painted, labels, classes, palette) if with_labels else painted

    def _classes_and_palette(self) -> tuple[Sequence[str], Sequence[Sequence[int]]]:
        meta: dict[str, Any] = self.dataset_meta or {}
        classes = meta.get("classes")
        if not classes:
            raise ConfigError(
                "SegLocalVisualizer: no class names; set visualizer.dataset_meta = dict(classes=..., palette=...)"
            )
        palette = meta.get("palette")
        return classes, palette if palette and len(palette) >= len(classes) else generate_palette(len(classes))


def write_picture(picture: np.ndarray, path: str | os.PathLike) -> Path:
    """Write (H, W, 3) uint8 RGB to a file whose suffix says the format, making its folder.

    Raises:
        ConfigError: the suffix is of no format that can be written.
    """
    from PIL import Image

    path = Path(path).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        Image.fromarray(picture).save(path)
    except (ValueError, KeyError, OSError) as e:
        if path.suffix.lower() in Image.registered_extensions():
            raise
        raise ConfigError(f"{path}: {path.suffix or 'no suffix'} is no picture format; use .png or .jpg") from e
    return path
