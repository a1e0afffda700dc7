"""Scores of an exported file on the data of a config, by the config's own evaluator."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from torch import Tensor

from gcseg.config_build import built_from
from gcseg.export.formats import ExportedModel
from gcseg.ops import CoarseLogits
from gcseg.utils.errors import ExportError
from gcseg.utils.progress import progress

if TYPE_CHECKING:
    from mmengine.config import Config


def evaluate_exported(exported: ExportedModel, cfg: Config, desc: str = "evaluating") -> dict[str, float]:
    """Run a file over the validation data of a config.

    Logits are brought to the size of the photograph as gcseg does it; labels are taken as they are, and where the
    pipeline has resized the image, resized to the nearest.

    Args:
        exported: the file.
        cfg: with ``val_dataloader`` and ``val_evaluator``; changed nowhere.
        desc: the words before the bar.

    Returns:
        The scores of ``val_evaluator``.
    """
    from mmengine.evaluator import Evaluator
    from mmengine.registry import DefaultScope
    from mmengine.runner import Runner

    from gcseg.registry import SCOPE

    with DefaultScope.overwrite_default_scope(SCOPE), built_from(cfg):
        loader = Runner.build_dataloader(cfg.val_dataloader, seed=0)
        kinds = cfg.val_evaluator
        evaluator = Evaluator(list(kinds) if isinstance(kinds, list | tuple) else [kinds])
        as_input = input_maker(exported, cfg)
    evaluator.dataset_meta = loader.dataset.metainfo
    for batch in progress(loader, desc=desc, unit="batch"):
        for image, sample in zip(batch["inputs"], batch["data_samples"], strict=True):
            size = tuple(sample.metainfo.get("ori_shape", image.shape[-2:]))[:2]
            labels = _labels(torch.from_numpy(exported(as_input(image))), size, tuple(image.shape[-2:]), exported)
            sample.set_data(dict(pred_sem_seg=PixelData(data=labels[None])))
        evaluator.process(data_samples=batch["data_samples"], data_batch=batch)
    return evaluator.evaluate(len(loader.dataset))


def input_maker(exported: ExportedModel, cfg: Config) -> Callable[[Tensor], np.ndarray]:
    """A function from an image of gcseg's pipeline, (C, H, W), to what a file takes, a batch of one.

    Args:
        exported: the file.
        cfg: with ``model.data_preprocessor``, which normalises for a file that does not.
    """
    from gcseg.registry import MODELS

    preprocessor: Any = None
    if exported.metadata.get("input") == "normalised":
        preprocessor = MODELS.build(dict(cfg.model.data_preprocessor, test_cfg=None))

    def make(image: Tensor) -> np.ndarray:
        if preprocessor is not None:
            return preprocessor(dict(inputs=[image]), False)["inputs"].numpy()
        if image.dtype != torch.uint8:
            raise ExportError(
                f"{exported.file} takes uint8 images, and the config's pipeline makes {image.dtype}; export with "
                "input='normalised' (--input normalised)"
            )
        planes = image.flip(0) if image.shape[0] == 3 else image  # the pipeline has OpenCV's order
        return np.ascontiguousarray(planes.permute(1, 2, 0)[None].numpy())

    return make


def _labels(found: Tensor, size: tuple[int, ...], input_size: tuple[int, ...], exported: ExportedModel) -> Tensor:
    """Classes (H, W) int64 at the size of the photograph, from what a file gave for one image."""
    if found.ndim == 4:
        way = (size[0], size[1]), bool(exported.fact("align_corners")), input_size
        return CoarseLogits(found[0], *way).argmax(exported.fact("threshold"))
    return F.interpolate(found[None].float(), size, mode="nearest")[0, 0].long()
