"""Test-time augmentation: the mean of the probabilities of several views of an image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from mmengine.model import BaseTTAModel
from mmengine.structures import PixelData
from torch import Tensor

from gcseg.registry import MODELS
from gcseg.structures import SegDataSample
from gcseg.utils.errors import DataError


@MODELS.register_module()
class SegTTAModel(BaseTTAModel):
    """Average the class probabilities of all views, one view in memory at a time.

    Args:
        module: the segmentor, or its config.
        data_preprocessor: for a segmentor given as a config: its data preprocessor.
    """

    def __init__(self, module: Any, data_preprocessor: Any = None) -> None:
        if isinstance(module, dict):
            if data_preprocessor is not None:
                module = dict(module, data_preprocessor=data_preprocessor)
            module = MODELS.build(module)
        super().__init__(module=module)

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
        for view in _views(data):
            samples = self.module.test_step(view)
            means = means or [_ViewMean(self.module) for _ in samples]
            if len(samples) != len(means):
                raise DataError(
                    f"test-time augmentation: a view has {len(samples)} images, another {len(means)}; all views must "
                    "have the images of the batch"
                )
            for mean, sample in zip(means, samples, strict=True):
                mean.add(sample)
                del sample.seg_logits
        return [mean.result() for mean in means]

    @torch.no_grad()
    def merge_preds(self, data_samples_list: Sequence[Sequence[SegDataSample]]) -> list[SegDataSample]:
        """Merge predictions that were made before, per image a sequence of its views' samples with ``seg_logits``."""
        merged = []
        for samples in data_samples_list:
            mean = _ViewMean(self.module)
            for sample in samples:
                mean.add(sample)
            merged.append(mean.result())
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

    def add(self, sample: SegDataSample) -> None:
        logits = sample.seg_logits.data  # K H W; for one channel a probability already
        probability = logits if self.binary else logits.softmax(dim=0)
        if self.total is None or self.sample is None:
            self.sample = sample
            self.total = torch.zeros_like(probability)
        elif probability.shape != self.total.shape:
            raise DataError(
                f"test-time augmentation: views of {sample.metainfo.get('img_path', 'an image')} have results of "
                f"{tuple(self.total.shape)} and {tuple(probability.shape)}; all views must have the same ori_shape"
            )
        self.total += probability
        self.views += 1

    def result(self) -> SegDataSample:
        if self.total is None or self.sample is None:
            raise DataError(
                "test-time augmentation: an image has no views; check TestTimeAug.transforms in the pipeline"
            )
        mean = self.total / self.views
        prediction = (mean > self.threshold).long() if self.binary else mean.argmax(dim=0, keepdim=True)
        if "seg_logits" in self.sample:
            del self.sample.seg_logits
        self.sample.set_data(dict(pred_sem_seg=PixelData(data=prediction)))
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


def _is_batch(view: Any) -> bool:
    return view.ndim == 4 if isinstance(view, Tensor) else isinstance(view, (list, tuple))
