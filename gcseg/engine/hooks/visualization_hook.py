"""Pictures of predictions while validating and testing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.hooks import Hook

from gcseg.registry import HOOKS
from gcseg.utils.errors import DataError


@HOOKS.register_module()
class SegVisualizationHook(Hook):
    """Paints photograph, ground truth and prediction side by side through the runner's visualizer.

    While validating, the first image of a batch every ``interval`` iterations; while testing, every image. The pictures
    go to the visualizer's backends, those of ``LocalVisBackend`` to ``<save_dir>/vis_data/vis_image``.

    Args:
        draw: paint at all.
        interval: iterations between two pictures while validating.
        show: open a window with each picture.
        wait_time: seconds before the window gives way; 0 waits for a key.
        backend_args: for reading the photographs through mmengine's fileio.
        save: hand the pictures to the backends; by default when no window is opened.

    Raises:
        HardwareError: ``draw`` and ``show`` without a display, before the first image is computed.
    """

    def __init__(
        self,
        draw: bool = False,
        interval: int = 50,
        show: bool = False,
        wait_time: float = 0.0,
        backend_args: dict | None = None,
        save: bool | None = None,
    ) -> None:
        if draw and show:
            from gcseg.visualization.display import require_display

            require_display()
        self.draw = draw
        self.interval = max(1, interval)
        self.show = show
        self.wait_time = wait_time
        self.backend_args = dict(backend_args) if backend_args else None
        self.save = not show if save is None else save
        self._test_index = 0

    def before_test(self, runner: Any) -> None:
        """Number the pictures from 1 in every test."""
        self._test_index = 0

    def after_val_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Sequence[Any] | None = None
    ) -> None:
        """Paint the first sample of the batch when it is due.

        Args:
            runner: the runner.
            batch_idx: index of the batch in this validation.
            data_batch: not used.
            outputs: data samples with predictions.
        """
        step = runner.iter + batch_idx
        if self.draw and outputs and step % self.interval == 0:
            self._paint(runner, outputs[0], "val", step)

    def after_test_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Sequence[Any] | None = None
    ) -> None:
        """Paint every sample of the batch.

        Args:
            runner: the runner.
            batch_idx: index of the batch.
            data_batch: not used.
            outputs: data samples with predictions.
        """
        if self.draw:
            for sample in outputs or ():
                self._test_index += 1
                self._paint(runner, sample, "test", self._test_index)

    def _paint(self, runner: Any, sample: Any, phase: str, step: int) -> None:
        from mmengine.dist import is_main_process

        if not is_main_process():
            return
        path = sample.get("img_path")
        if not path:
            raise DataError("SegVisualizationHook: the sample has no img_path; add it to meta_keys of PackSegInputs")
        name, image = f"{phase}_{Path(str(path)).stem}", self._read(str(path))
        common: dict[str, Any] = dict(data_sample=sample, show=self.show, wait_time=self.wait_time, step=step)
        visualizer = runner.visualizer
        if hasattr(visualizer, "add_panel"):
            visualizer.add_panel(name, image, save=self.save, **common)
        else:
            visualizer.add_datasample(name, image, **common)

    def _read(self, path: str) -> np.ndarray:
        from mmcv.image import imfrombytes
        from mmengine.fileio import get

        image = imfrombytes(get(path, backend_args=self.backend_args), channel_order="rgb")
        if image is None:
            raise DataError(f"{path}: cannot be read as an image; is the file damaged?")
        return image
