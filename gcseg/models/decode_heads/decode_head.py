"""What all decode heads share: choice of features, classification, loss and prediction.

Shape legend: N batch, C channels of a feature map, K classes (or one score), h x w features, H x W labels and images.
"""

from __future__ import annotations

import warnings
from abc import ABCMeta, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn

from gcseg.models.losses.ohem_pixel_sampler import BasePixelSampler
from gcseg.models.losses.utils import starts_from_cross_entropy
from gcseg.models.quiet_init import QuietInit
from gcseg.ops import UpsampledCrossEntropy, accuracy, class_accuracy, resize, upsample_cross_entropy
from gcseg.registry import MODELS, TASK_UTILS
from gcseg.utils import ConfigError, DataError, unknown_name_message

if TYPE_CHECKING:
    from gcseg.structures import SegDataSample

INPUT_TRANSFORMS = ("resize_concat", "multiple_select")
DEFAULT_THRESHOLD = 0.3

Features: TypeAlias = Tensor | Sequence[Tensor] | Mapping[str, Tensor]


class BaseDecodeHead(QuietInit, metaclass=ABCMeta):
    """Base of the decode heads; a sub-class defines :meth:`forward`.

    A head works without any config: ``FCNHead(in_channels=512, channels=64, num_classes=11)(features)``.

    Args:
        in_channels: channels of the feature map, or of each one when ``input_transform`` is given.
        channels: channels before the classification.
        num_classes: K.
        out_channels: scores per position; ``num_classes`` by default, or 1 for two classes told apart by a threshold.
        threshold: for ``out_channels=1``: class 1 is where the sigmoid of the score is above it. 0.3 by default.
        dropout_ratio: share of the channels dropped before the classification in training.
        conv_cfg: config of the convolutions, ``None`` for ``Conv2d``.
        norm_cfg: config of the normalisations, ``None`` for none.
        act_cfg: config of the activations, ``None`` for ``dict(type='ReLU')``.
        in_index: which entry of the features to use, or which ones when ``input_transform`` is given.
        input_transform: ``None``: one feature map; ``"resize_concat"``: several, resized to the first one's size and
            concatenated; ``"multiple_select"``: several, as a list.
        loss_decode: config of a loss, a loss, or several of either; losses of one ``loss_name`` add up.
        ignore_index: label that does not count.
        sampler: config of a pixel sampler, such as ``dict(type='OHEMPixelSampler')``, or a sampler.
        align_corners: of every bilinear resize here.
        init_cfg: mmengine initialisation config; ``conv_seg`` from a normal distribution of std 0.01 by default.

    Raises:
        ConfigError: options that do not fit each other.
    """

    def __init__(
        self,
        in_channels: int | Sequence[int],
        channels: int,
        *,
        num_classes: int,
        out_channels: int | None = None,
        threshold: float | None = None,
        dropout_ratio: float = 0.1,
        conv_cfg: dict | None = None,
        norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
        in_index: int | Sequence[int] = -1,
        input_transform: str | None = None,
        loss_decode: Any = None,
        ignore_index: int | None = 255,
        sampler: dict | BasePixelSampler | None = None,
        align_corners: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg or dict(type="Normal", std=0.01, override=dict(name="conv_seg")))
        if channels < 1 or num_classes < 1:
            raise ConfigError(f"{channels=}, {num_classes=}: allowed are numbers from 1")
        for name, layer in (("conv_cfg", conv_cfg), ("norm_cfg", norm_cfg), ("act_cfg", act_cfg)):
            if layer is not None and not isinstance(layer, Mapping):
                raise ConfigError(f"{name}={layer!r}: give None or a dictionary, such as norm_cfg=dict(type='BN')")
        self._init_inputs(in_channels, in_index, input_transform)
        self.channels = channels
        self.num_classes = num_classes
        self.out_channels, self.threshold = _binary_options(num_classes, out_channels, threshold)
        self.dropout_ratio = dropout_ratio
        self.conv_cfg = conv_cfg
        self.norm_cfg = norm_cfg
        self.act_cfg = act_cfg if act_cfg is not None else dict(type="ReLU")
        self.ignore_index = ignore_index
        self.align_corners = align_corners
        self.loss_decode = _build_losses(loss_decode)
        if isinstance(sampler, dict):
            sampler = TASK_UTILS.build(sampler, default_args=dict(context=self))
        self.sampler: Any = sampler
        self.conv_seg = nn.Conv2d(channels, self.out_channels, kernel_size=1)
        self.dropout = nn.Dropout2d(dropout_ratio) if dropout_ratio > 0 else None

    def _init_inputs(
        self, in_channels: int | Sequence[int], in_index: int | Sequence[int], input_transform: str | None
    ) -> None:
        self.input_transform = input_transform
        self.in_index = in_index
        self.in_channels = in_channels
        if input_transform is None:
            if not isinstance(in_channels, int) or not isinstance(in_index, int):
                raise ConfigError(
                    f"in_channels={in_channels!r} and in_index={in_index!r}: without input_transform a head takes one "
                    "feature map; give one number each, or input_transform='resize_concat' or 'multiple_select'"
                )
            return
        if input_transform not in INPUT_TRANSFORMS:
            raise ConfigError(unknown_name_message("input_transform", str(input_transform), INPUT_TRANSFORMS))
        if isinstance(in_channels, int) or isinstance(in_index, int) or len(in_channels) != len(in_index):
            raise ConfigError(
                f"in_channels={in_channels!r} and in_index={in_index!r}: input_transform={input_transform!r} takes "
                "several feature maps; give two lists of the same length"
            )
        if input_transform == "resize_concat":
            self.in_channels = sum(in_channels)

    def extra_repr(self) -> str:
        """Options shown by ``print``."""
        return (
            f"input_transform={self.input_transform}, ignore_index={self.ignore_index}, "
            f"align_corners={self.align_corners}"
        )

    def _transform_inputs(self, inputs: Features) -> Any:
        """Pick the features that the head works on.

        Args:
            inputs: the feature maps of the backbone, (N, C_i, h_i, w_i) each, in a sequence or by name in their order;
                one tensor alone stands for the map that a head of one feature map wants. What a backbone of
                transformers returns has them as ``feature_maps``.

        Returns:
            (N, in_channels, h, w), or a list of tensors for ``"multiple_select"``.
        """
        inputs = getattr(inputs, "feature_maps", inputs)
        if isinstance(inputs, Tensor):
            if self.input_transform is not None:
                raise ValueError(
                    f"{type(self).__name__}: received one tensor, but input_transform={self.input_transform!r} takes "
                    f"the feature maps {tuple(self.in_index)}; pass a list of feature maps"  # type: ignore[arg-type]
                )
            return self._checked(inputs)
        if isinstance(inputs, Mapping):  # what torchvision's feature extractors return
            inputs = list(inputs.values())
        if self.input_transform is None:
            return self._checked(self._pick(inputs, self.in_index))
        selected = [self._pick(inputs, i) for i in self.in_index]  # type: ignore[union-attr]
        if self.input_transform == "multiple_select":
            return selected
        size = selected[0].shape[2:]
        resized = [resize(x, size=size, mode="bilinear", align_corners=self.align_corners) for x in selected]
        return self._checked(torch.cat(resized, dim=1))

    def _pick(self, inputs: Sequence[Tensor], index: Any) -> Tensor:
        if not -len(inputs) <= index < len(inputs):
            raise ValueError(
                f"{type(self).__name__}: in_index={index}, but the backbone returned {len(inputs)} feature maps; "
                "change in_index, or out_indices of the backbone"
            )
        return inputs[index]

    def _checked(self, x: Tensor) -> Tensor:
        if x.dim() != 4 or x.shape[1] != self.in_channels:
            last = x.dim() == 4 and x.shape[-1] == self.in_channels
            raise ValueError(
                f"{type(self).__name__}: received features of shape {tuple(x.shape)} (in_index={self.in_index}), "
                f"expected (N, {self.in_channels}, h, w), as in_channels={self.in_channels} says; "
                + ("put the channels first: permute(0, 3, 1, 2)" if last else "make them equal")
            )
        return x

    @abstractmethod
    def forward(self, inputs: Features) -> Tensor:
        """Score each class at each position.

        Args:
            inputs: feature maps, (N, C_i, h_i, w_i) each, or the one that the head uses.

        Returns:
            Raw logits at the resolution of the features, (N, out_channels, h, w).
        """

    def cls_seg(self, feat: Tensor) -> Tensor:
        """Dropout and the last 1x1 convolution: (N, channels, h, w) to logits (N, out_channels, h, w)."""
        if self.dropout is not None:
            feat = self.dropout(feat)
        return self.conv_seg(feat)

    def loss(
        self, inputs: Features, batch_data_samples: Sequence[SegDataSample], train_cfg: dict | None = None
    ) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            inputs: as for :meth:`forward`.
            batch_data_samples: N samples with ``gt_sem_seg``, (1, H, W) int64 each.
            train_cfg: not used here; sub-classes may.

        Returns:
            A scalar per ``loss_name``, and ``acc_seg``, percent of the pixels that are right, (1,).
        """
        return self.loss_by_feat(self.forward(inputs), batch_data_samples)

    def loss_by_feat(self, seg_logits: Tensor, batch_data_samples: Sequence[SegDataSample]) -> dict[str, Tensor]:
        """Losses of logits.

        Args:
            seg_logits: (N, out_channels, h, w), resized to the labels' size here.
            batch_data_samples: N samples with ``gt_sem_seg``, (1, H, W) int64 each.

        Returns:
            See :meth:`loss`.
        """
        seg_label = self._stack_batch_gt(batch_data_samples)  # N 1 H W
        label, channels = seg_label.squeeze(1), seg_logits.shape[1]
        scores = _Scores(seg_logits, label, self.align_corners, self.ignore_index)
        weight = None
        if self.sampler is not None and starts_from_cross_entropy(self.sampler):
            weight = self.sampler.from_cross_entropy(scores.cross_entropy.loss, seg_label, channels)
        elif self.sampler is not None:
            weight = self.sampler.sample(scores.full, seg_label)
        losses: dict[str, Tensor] = {}
        for module in self.loss_decode if isinstance(self.loss_decode, nn.ModuleList) else [self.loss_decode]:
            options = dict(weight=weight, ignore_index=self.ignore_index)
            if starts_from_cross_entropy(module):
                value = module.from_cross_entropy(scores.cross_entropy.loss, label, channels, **options)
            else:
                value = module(scores.full, label, **options)
            name = module.loss_name
            losses[name] = losses[name] + value if name in losses else value
        losses["acc_seg"] = self._accuracy(scores)
        return losses

    def _accuracy(self, scores: _Scores) -> Tensor:
        if scores.has_cross_entropy:
            return class_accuracy(scores.cross_entropy.pred, scores.label, self.ignore_index)
        full = scores.full.detach()
        if self.out_channels == 1 and self.threshold is not None:
            return class_accuracy((full.sigmoid() > self.threshold).squeeze(1), scores.label, self.ignore_index)
        return accuracy(full, scores.label, ignore_index=self.ignore_index)

    def _stack_batch_gt(self, batch_data_samples: Sequence[SegDataSample]) -> Tensor:
        """Labels of a batch, (N, 1, H, W) int64."""
        if batch_data_samples is None or isinstance(batch_data_samples, Tensor):
            raise DataError(
                f"{type(self).__name__}: a loss takes samples with gt_sem_seg, received "
                f"{type(batch_data_samples).__name__}; for labels (N, H, W) there is "
                "gcseg.ops.upsample_cross_entropy(model(images), labels)"
            )
        for sample in batch_data_samples:
            if "gt_sem_seg" not in sample:
                raise DataError(
                    f"{sample.get('img_path', 'a sample')}: no gt_sem_seg, which a loss needs; the pipeline must have "
                    "LoadAnnotations and PackSegInputs"
                )
        labels = [sample.gt_sem_seg.data for sample in batch_data_samples]
        if len({label.shape for label in labels}) > 1:
            named = ", ".join(
                f"{sample.get('img_path', i)}: {tuple(label.shape)}"
                for i, (sample, label) in enumerate(zip(batch_data_samples, labels, strict=True))
            )
            raise DataError(
                f"labels of one batch differ in size ({named}); crop to one size in the pipeline, or set size or "
                "size_divisor of the data preprocessor, which pads them"
            )
        return torch.stack(labels)

    def predict(self, inputs: Features, batch_img_metas: Sequence[dict], test_cfg: dict | None = None) -> Tensor:
        """Logits of a batch at the resolution of its images.

        Args:
            inputs: as for :meth:`forward`.
            batch_img_metas: meta information; of the first one ``pad_shape``, else ``img_shape``, (H, W).
            test_cfg: with ``mode='slide'`` the size is that of a window, which is in ``img_shape``.

        Returns:
            Raw logits, (N, out_channels, H, W).
        """
        if test_cfg is not None and test_cfg.get("mode") == "slide":
            # mmsegmentation's windows write their size there, and leave pad_shape to the whole image.
            batch_img_metas = [dict(meta, pad_shape=None) for meta in batch_img_metas]
        return self.predict_by_feat(self.forward(inputs), batch_img_metas)

    def predict_by_feat(self, seg_logits: Tensor, batch_img_metas: Sequence[dict]) -> Tensor:
        """Resize logits (N, out_channels, h, w) to the image's size, see :meth:`predict`."""
        meta = batch_img_metas[0]
        size = meta["pad_shape"] if meta.get("pad_shape") is not None else meta["img_shape"]
        return resize(seg_logits, size=tuple(size[:2]), mode="bilinear", align_corners=self.align_corners)


class _Scores:
    """Coarse logits and their labels; what a loss needs of them is made when it is first asked for.

    Args:
        logits: (N, K, h, w).
        label: (N, H, W) int64.
        align_corners: see :func:`gcseg.ops.resize`.
        ignore_index: label of pixels that do not count.
    """

    def __init__(self, logits: Tensor, label: Tensor, align_corners: bool, ignore_index: int | None) -> None:
        self.logits, self.label, self.align_corners = logits, label, align_corners
        self.ignore_index = -100 if ignore_index is None else ignore_index  # no class has a negative index

    @cached_property
    def cross_entropy(self) -> UpsampledCrossEntropy:
        """Softmax cross-entropy of each pixel and its class, without the resized logits."""
        return upsample_cross_entropy(
            self.logits,
            self.label,
            align_corners=self.align_corners,
            ignore_index=self.ignore_index,
            with_prob=False,
        )

    @property
    def has_cross_entropy(self) -> bool:
        return "cross_entropy" in vars(self)

    @cached_property
    def full(self) -> Tensor:
        """Logits at the size of the labels, (N, K, H, W)."""
        return resize(self.logits, size=self.label.shape[1:], mode="bilinear", align_corners=self.align_corners)


def _binary_options(num_classes: int, out_channels: int | None, threshold: float | None) -> tuple[int, float | None]:
    if out_channels is None:
        if num_classes == 2:
            warnings.warn(
                "num_classes=2: two classes can also be told apart by one score, out_channels=1 with a threshold and "
                "loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=True)",
                stacklevel=3,
            )
        out_channels = num_classes
    if out_channels != num_classes and not (out_channels == 1 and num_classes == 2):
        raise ConfigError(
            f"out_channels: received {out_channels} for num_classes={num_classes}; allowed are {num_classes}, or 1 "
            "when num_classes is 2"
        )
    if out_channels == 1 and threshold is None:
        threshold = DEFAULT_THRESHOLD
        warnings.warn(
            f"out_channels=1 without a threshold: class 1 is where the sigmoid of the score is above {threshold}; "
            "give threshold to choose another one",
            stacklevel=3,
        )
    return out_channels, threshold


def _build_losses(loss_decode: Any) -> nn.Module:
    if loss_decode is None:
        loss_decode = dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0)
    if isinstance(loss_decode, (list, tuple)) or type(loss_decode) is nn.ModuleList:
        return nn.ModuleList([_build_loss(loss) for loss in loss_decode])
    return _build_loss(loss_decode)


def _build_loss(loss: Any) -> nn.Module:
    module = MODELS.build(loss) if isinstance(loss, dict) else loss
    if not isinstance(module, nn.Module) or not hasattr(module, "loss_name"):
        raise TypeError(
            f"loss_decode: expected a loss with a loss_name, or its config, got {type(module).__name__}; "
            "example: dict(type='CrossEntropyLoss')"
        )
    return module
