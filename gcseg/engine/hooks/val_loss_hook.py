"""The loss on the validation data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.dist import all_gather_object
from mmengine.hooks import Hook

from gcseg.registry import HOOKS
from gcseg.utils.errors import ConfigError


@HOOKS.register_module()
class ValLossHook(Hook):
    """Computes the training's loss in each validation, and adds it to the scores.

    ``val_loss`` and its parts (``val_decode.loss_ce``, ``val_aux.loss_ce``, ...) stand in the log beside mIoU, and
    ``save_best='val_loss'`` and ``EarlyStoppingHook(monitor='val_loss')`` can watch them. The loss is that of the model
    in evaluation mode, with averaged weights where there is an ``EMAHook``, on whole images as the validation's
    pipeline yields them, each for itself; the mean over the images of all processes is reported. It costs one more pass
    through the network: a validation takes about twice as long.

    mmengine's loops take losses from ``val_step``, where a segmentor would have to know of them, and each process then
    sees those of its own images alone, so that one of several may stop early and leave the others waiting.
    """

    priority = "HIGHEST"  # before the hooks that read the scores

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._count = 0

    def before_val_epoch(self, runner: Any) -> None:
        """Begin to count."""
        self._sums, self._count = {}, 0

    def after_val_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Sequence[Any] | None = None
    ) -> None:
        """Add the losses of a batch; the loop has opened its autocast and turned gradients off.

        Raises:
            ConfigError: the validation data have no labels.
        """
        model = getattr(runner.model, "module", runner.model)
        for image, sample in zip(data_batch["inputs"], data_batch["data_samples"], strict=True):
            if "gt_sem_seg" not in sample:
                raise ConfigError(
                    "ValLossHook: the validation's samples have no labels; add LoadAnnotations to its pipeline"
                )
            data = model.data_preprocessor({"inputs": [image], "data_samples": [sample]}, False)
            left, right, top, bottom = data["data_samples"][0].metainfo.get("img_padding_size", (0, 0, 0, 0))
            height, width = data["inputs"].shape[-2:]
            inputs = data["inputs"][..., top : height - bottom, left : width - right]  # what was padded has no label
            losses = model.parse_losses(model(inputs, data["data_samples"], mode="loss"))[1]
            for name, value in losses.items():
                if "loss" in name:
                    self._sums[name] = self._sums.get(name, 0.0) + float(value)
            self._count += 1

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Add the means to the scores, the same on all processes."""
        parts = all_gather_object((self._count, self._sums))
        count = sum(n for n, _ in parts)
        if metrics is not None and count:
            names = dict.fromkeys(name for _, sums in parts for name in sums)
            metrics.update({f"val_{name}": sum(sums.get(name, 0.0) for _, sums in parts) / count for name in names})
