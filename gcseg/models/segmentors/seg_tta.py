"""Test-time augmentation: the mean of the probabilities of several views of an image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from mmengine.model import BaseTTAModel
from mmengine.structures import PixelData
from torch import Tensor

from gcseg.models.segmentors.encoder_decoder import EncoderDecoder
from gcseg.ops import CoarseLogits, upsample_argmax
from gcseg.registry import MODELS
from gcseg.structures import SegDataSample
from gcseg.utils.errors import DataError


@MODELS.register_module()
class SegTTAModel(BaseTTAModel):
    """Average the class probabilities of all views, at most two views in memory at a time.

    Args:
        module: the segmentor, or its config.
        data_preprocessor: for a segmentor given as a config: its data preprocessor.
        keep_probs: give the samples ``seg_probs`` as well: ``data`` (C, H, W), the mean probability of each class, or
            (1, H, W) where the segmentor has one score per pixel.
    """

    def __init__(self, module: Any, data_preprocessor: Any = None, keep_probs: bool = False) -> None:
        if isinstance(module, dict):
            if data_preprocessor is not None:
                module = dict(module, data_preprocessor=data_preprocessor)
            module = MODELS.build(module)
        super().__init__(module=module)
        self.keep_probs = keep_probs

    @torch.no_grad()
    def test_step(self, data: Any) -> list[SegDataSample]:
        """Predict images from their views.

        Args:
            data: ``dict(inputs=..., data_samples=...)`` (or the two in a tuple) as ``TestTimeAug`` and the collation
                give it: per view, a list over the images of the batch. No ground truth is needed.

        Returns:
            One sample per image: the first view's, with its ground truth if it has any, and with ``pred_sem_seg`` from
            the mean of all views. ``seg_logits`` is absent: no single view's would belong to the prediction.

        Raises:
            DataError: the views do not fit each other.
        """
        means: list[_ViewMean] = []
        for views in _of_one_size(_views(data)):
            # An image and its mirror image, say, go through the network as one batch.
            batch = {key: [item for view in views for item in view[key]] for key in views[0]}
            results = self._coarse(batch)
            means = means or [_ViewMean(self.module) for _ in range(len(results) // len(views))]
            if len(results) != len(means) * len(views):
                raise DataError(
                    f"test-time augmentation: a view has {len(results) // len(views)} images, another {len(means)}; "
                    "all views must have the images of the batch"
                )
            for i, (sample, scores) in enumerate(results):
                means[i % len(means)].add(sample, scores)
        return [mean.result(self.keep_probs) for mean in means]

    def _coarse(self, batch: dict[str, list]) -> list[tuple[SegDataSample, CoarseLogits | Tensor]]:
        """Each image's sample with its coarse logits, or with its scores from a segmentor that has only those."""
        if hasattr(self.module, "predict_coarse") and type(self.module).predict is EncoderDecoder.predict:
            prepared = self.module.data_preprocessor(batch, False)
            coarse = self.module.predict_coarse(prepared["inputs"], prepared["data_samples"])
            if coarse is not None:
                return list(zip(prepared["data_samples"], coarse, strict=True))
        return [(sample, sample.seg_logits.data) for sample in self.module.test_step(batch)]

    @torch.no_grad()
    def merge_preds(self, data_samples_list: Sequence[Sequence[SegDataSample]]) -> list[SegDataSample]:
        """Merge predictions that were made before, per image a sequence of its views' samples with ``seg_logits``."""
        merged = []
        for samples in data_samples_list:
            mean = _ViewMean(self.module)
            for sample in samples:
                mean.add(sample, sample.seg_logits.data)
            merged.append(mean.result(self.keep_probs))
        return merged


class _ViewMean:
    """Running mean of the probabilities of one image's views.

    Args:
        segmentor: its ``out_channels`` and, for one channel, its head's ``threshold`` are read.
    """

    def __init__(self, segmentor: Any) -> None:
        self.binary = segmentor.out_channels == 1
        self.threshold = segmentor.decode_head.threshold if self.binary else None
        self.views = 0
        self.sample: SegDataSample | None = None
        self.total: Tensor | None = None

    def add(self, sample: SegDataSample, scores: CoarseLogits | Tensor) -> None:
        """Add a view.

        Args:
            sample: the view's.
            scores: its coarse logits; or its logits (C, H, W), for one channel its probability already.
        """
        logits = scores.logits if isinstance(scores, CoarseLogits) else scores
        size = scores.size if isinstance(scores, CoarseLogits) else scores.shape[1:]
        shape = (logits.shape[0], *size)
        if self.total is None or self.sample is None:
            self.sample = sample
            kind = torch.promote_types(logits.dtype, torch.float32)
            # Rows first in memory: views are added strip by strip.
            rows = torch.zeros(shape[1], shape[0], shape[2], dtype=kind, device=logits.device)
            self.total = rows.transpose(0, 1)
        elif shape != tuple(self.total.shape):
            raise DataError(
                f"test-time augmentation: views of {sample.metainfo.get('img_path', 'an image')} have results of "
                f"{tuple(self.total.shape)} and {shape}; all views must have the same ori_shape"
            )
        if isinstance(scores, CoarseLogits):
            scores.add_probabilities(self.total)
        else:
            self.total += scores if self.binary else scores.softmax(dim=0)
        self.views += 1

    def result(self, keep_probs: bool) -> SegDataSample:
        if self.total is None or self.sample is None:
            raise DataError(
                "test-time augmentation: an image has no views; check TestTimeAug.transforms in the pipeline"
            )
        if self.binary:
            prediction = (self.total / self.views > self.threshold).long()
        else:  # the largest sum belongs to the largest mean
            prediction = upsample_argmax(self.total[None], self.total.shape[1:])
        if "seg_logits" in self.sample:
            del self.sample.seg_logits
        self.sample.set_data(dict(pred_sem_seg=PixelData(data=prediction)))
        if keep_probs:
            self.sample.set_data(dict(seg_probs=PixelData(data=self.total / self.views)))
        return self.sample


def _views(data: Any) -> Iterable[dict[str, Any]]:
    """Split a collated batch of views into one batch per view."""
    if not isinstance(data, dict):
        data = dict(zip(("inputs", "data_samples"), data, strict=False))
    counts = {len(part) for part in data.values()}
    # A view is a list over images (or a stacked batch of them); without TestTimeAug its place is taken by one image.
    if len(counts) != 1 or 0 in counts or not all(_is_batch(view) for part in data.values() for view in part):
        raise DataError(
            f"test-time augmentation: received lists of lengths {sorted(counts)} that do not hold one batch per view; "
            "the pipeline must end in TestTimeAug (tta_pipeline in the config)"
        )
    for i in range(counts.pop()):
        yield {key: value[i] for key, value in data.items()}


def _of_one_size(views: Iterable[dict[str, Any]]) -> Iterable[list[dict[str, Any]]]:
    """Views in their order; two that follow each other and have images of the same sizes come together."""
    waiting: list[dict[str, Any]] = []
    for view in views:
        if waiting and _sizes(waiting[0]) == _sizes(view):
            yield [*waiting, view]
            waiting = []
        else:
            if waiting:
                yield waiting
            waiting = [view]
    if waiting:
        yield waiting


def _sizes(view: dict[str, Any]) -> list[tuple[int, ...]]:
    return [tuple(image.shape) for image in view["inputs"]]


def _is_batch(view: Any) -> bool:
    return view.ndim == 4 if isinstance(view, Tensor) else isinstance(view, (list, tuple))
