"""From a list of images and labels to a batch the network takes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from gcseg.registry import MODELS
from gcseg.structures import SegDataSample
from gcseg.utils import ConfigError, DataError, unknown_name_message

_LABEL_FIELDS = ("gt_sem_seg", "gt_edge_map")
_TEST_KEYS = ("size", "size_divisor")


@MODELS.register_module()
class SegDataPreProcessor(BaseDataPreprocessor):
    """Move a batch to the device, put its channels in order, normalise, pad and stack it.

    Padding goes to the right and to the bottom, after normalisation, so that ``pad_val=0`` is the mean colour. In
    training the target is ``size``, or the largest image of the batch rounded up to a multiple of ``size_divisor``;
    without either it is the largest image. In testing ``test_cfg`` may name ``size`` or ``size_divisor``; without it
    images of one size are stacked as they are, and images of several sizes are padded to the largest (with a warning:
    the padding is part of what a global context block pools over, so scores differ slightly from those of each image by
    itself, which ``batch_size=1`` gives). Predictions are cut back to each image by its ``img_padding_size``.

    ``mean`` and ``std`` are not part of the state dict.

    Args:
        mean: of each channel, in the channel order after conversion and in grey levels (0 to 255); ``None``, with
            ``std=None``: no normalisation.
        std: of each channel, in grey levels.
        size: (H, W) to pad training batches to; images must not be larger.
        size_divisor: pad training batches to a multiple of this. Not together with ``size``.
        pad_val: value of padded pixels, after normalisation.
        seg_pad_val: label of padded pixels; the ``ignore_index``.
        bgr_to_rgb: reverse the channels of three-channel images.
        rgb_to_bgr: the same, under the other name; not both.
        batch_augments: in training, applied to the batch one after the other: functions, or their configs, from
            ``(inputs, data_samples)`` to ``(inputs, data_samples)``.
        test_cfg: ``dict(size=(H, W))`` or ``dict(size_divisor=k)``, the padding in testing.
        non_blocking: copy to the device without waiting.

    Raises:
        ConfigError: options that exclude each other or are unknown.
    """

    def __init__(
        self,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        size: tuple[int, int] | None = None,
        size_divisor: int | None = None,
        pad_val: float = 0,
        seg_pad_val: int = 255,
        bgr_to_rgb: bool = False,
        rgb_to_bgr: bool = False,
        batch_augments: Any = None,
        test_cfg: dict | None = None,
        non_blocking: bool = False,
    ) -> None:
        super().__init__(non_blocking)
        if bgr_to_rgb and rgb_to_bgr:
            raise ConfigError("bgr_to_rgb and rgb_to_bgr are the same operation and cannot both be set; keep one")
        if (mean is None) != (std is None) or (mean is not None and std is not None and len(mean) != len(std)):
            raise ConfigError(f"mean={mean} and std={std}: give both, with one number per channel, or neither")
        _check_padding("SegDataPreProcessor", size, size_divisor)
        if test_cfg is not None:
            for key in test_cfg:
                if key not in _TEST_KEYS:
                    raise ConfigError(unknown_name_message("key of SegDataPreProcessor.test_cfg", key, _TEST_KEYS))
            _check_padding("SegDataPreProcessor.test_cfg", test_cfg.get("size"), test_cfg.get("size_divisor"))
        self._enable_normalize = mean is not None
        if mean is not None and std is not None:
            self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1), persistent=False)
            self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(-1, 1, 1), persistent=False)
        self._channel_conversion = bgr_to_rgb or rgb_to_bgr
        self.size = size
        self.size_divisor = size_divisor
        self.pad_val = pad_val
        self.seg_pad_val = seg_pad_val
        self.batch_augments = _build_augments(batch_augments)
        self.test_cfg = test_cfg
        self._warned_of_mixed_sizes = False

    def forward(self, data: dict, training: bool = False) -> dict[str, Any]:
        """Make a batch.

        Args:
            data: ``inputs``: N images, (C, H, W) uint8 or floating each (or one (N, C, H, W)); ``data_samples``: N
                :class:`~gcseg.structures.SegDataSample`, optional in testing. The samples' meta information and, in
                training, their labels are changed in place.
            training: pad labels too, and augment.

        Returns:
            ``inputs``: (N, C, H', W') float32; ``data_samples``: the samples, with ``pad_shape`` and ``padding_size``
            (training) or ``img_padding_size`` (testing, when padded) set, or None.

        Raises:
            ConfigError: ``data`` has no ``inputs``.
            DataError: images that do not fit each other, the mean, or ``size``; training without samples.
        """
        data = self.cast_data(data)
        if "inputs" not in data:
            raise ConfigError(
                f"the batch has {', '.join(map(str, data)) or 'nothing'} and no `inputs`; let the pipeline of the data "
                "set begin with LoadImageFromFile and end with PackSegInputs"
            )
        images = list(data["inputs"])
        samples = data.get("data_samples")
        self._check_images(images)
        if training:
            if samples is None:
                raise DataError("SegDataPreProcessor: training needs data_samples with gt_sem_seg; received none")
            batch, paddings = self._stack(images, self.size, self.size_divisor)
            for sample, image, padding in zip(samples, images, paddings, strict=True):
                self._pad_labels(sample, padding)
                sample.set_metainfo(
                    dict(img_shape=tuple(image.shape[-2:]), pad_shape=tuple(batch.shape[-2:]), padding_size=padding)
                )
            for augment in self.batch_augments:
                batch, samples = augment(batch, samples)
        else:
            test_cfg = self.test_cfg or {}
            self._warn_of_mixed_sizes(images)
            batch, paddings = self._stack(images, test_cfg.get("size"), test_cfg.get("size_divisor"))
            if samples is not None and (test_cfg or any(map(any, paddings))):
                for sample, padding in zip(samples, paddings, strict=True):
                    sample.set_metainfo(dict(img_padding_size=padding, pad_shape=tuple(batch.shape[-2:])))
        return dict(inputs=batch, data_samples=samples)

    def _check_images(self, images: list[Tensor]) -> None:
        shapes = [tuple(image.shape) for image in images]
        if not images or any(len(shape) != 3 for shape in shapes) or len({shape[0] for shape in shapes}) > 1:
            raise DataError(f"images of a batch must be (C, H, W) with one number of channels; received {shapes}")
        channels = shapes[0][0]
        if self._enable_normalize and self.mean.shape[0] not in (1, channels):
            raise DataError(
                f"images have {channels} channels but mean and std have {self.mean.shape[0]} numbers; "
                "change the image's loading (color_type; of an array image[:, :, :3] is BGR without transparency) or "
                "mean and std of the data preprocessor"
            )

    def _warn_of_mixed_sizes(self, images: list[Tensor]) -> None:
        if self._warned_of_mixed_sizes or len({image.shape for image in images}) == 1:
            return
        self._warned_of_mixed_sizes = True
        warnings.warn(
            "images of several sizes in one test batch are padded to the largest, and a global context takes the "
            "padding in; use batch_size=1 for the scores of each image by itself",
            stacklevel=3,
        )

    def _normalise(self, images: Tensor) -> Tensor:
        """Images (..., C, H, W) of any dtype to float32, channels in order, mean 0 and std 1."""
        if self._channel_conversion and images.shape[-3] == 3:
            images = images.flip(-3)
        images = images.float()
        if self._enable_normalize:
            images = (images - self.mean).div_(self.std)
        return images

    def _stack(
        self, images: list[Tensor], size: Sequence[int] | None, size_divisor: int | None
    ) -> tuple[Tensor, list[tuple[int, int, int, int]]]:
        """Batch of normalised images, and what was padded to each: (left, right, top, bottom) in pixels."""
        heights, widths = [image.shape[-2] for image in images], [image.shape[-1] for image in images]
        height, width = max(heights), max(widths)
        if size is not None:
            if height > size[0] or width > size[1]:
                raise DataError(
                    f"an image of the batch is {height} high or {width} wide, more than size={tuple(size)} (H, W) of "
                    "the data preprocessor; crop to that size in the pipeline, or make size larger"
                )
            height, width = size
        elif size_divisor is not None:
            height, width = (-(-length // size_divisor) * size_divisor for length in (height, width))
        paddings = [(0, width - w, 0, height - h) for h, w in zip(heights, widths, strict=True)]
        if not any(map(any, paddings)):
            return self._normalise(torch.stack(images)), paddings
        padded = (
            F.pad(self._normalise(image), padding, value=self.pad_val)
            for image, padding in zip(images, paddings, strict=True)
        )
        return torch.stack(list(padded)), paddings

    def _pad_labels(self, sample: SegDataSample, padding: tuple[int, int, int, int]) -> None:
        if not any(padding):
            return
        for field in _LABEL_FIELDS:
            if field in sample:
                label = getattr(sample, field)
                padded = F.pad(label.data, padding, value=self.seg_pad_val)
                del label.data  # PixelData refuses another size while it holds data
                label.data = padded


def _check_padding(owner: str, size: Any, size_divisor: Any) -> None:
    if size is not None and size_divisor is not None:
        raise ConfigError(f"{owner}: size={size} and size_divisor={size_divisor} exclude each other; keep one")
    if size is not None and (isinstance(size, int) or len(size) != 2):
        raise ConfigError(f"{owner}: size={size!r}; give (H, W)")
    if size_divisor is not None and size_divisor < 1:
        raise ConfigError(f"{owner}: size_divisor={size_divisor}; allowed are numbers from 1 on")


def _build_augments(batch_augments: Any) -> list[Callable]:
    if batch_augments is None:
        return []
    entries = batch_augments if isinstance(batch_augments, (list, tuple)) else [batch_augments]
    augments = [MODELS.build(entry) if isinstance(entry, dict) else entry for entry in entries]
    for augment in augments:
        if not callable(augment):
            raise ConfigError(f"batch_augments: {augment!r} is neither a function nor the config of one")
    return augments
