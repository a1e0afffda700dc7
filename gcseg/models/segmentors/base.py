"""What every segmentor has: the three modes of ``forward``, and results at the size of the photographs."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any

from mmengine.model import BaseModel
from mmengine.structures import PixelData
from torch import Tensor, nn

from gcseg.models.quiet_init import QuietInit
from gcseg.ops import CoarseLogits
from gcseg.registry import MODELS
from gcseg.structures import SegDataSample
from gcseg.utils.errors import ConfigError
from gcseg.utils.names import unknown_name_message

_MODES = ("tensor", "predict", "loss")


def image_channels(model: nn.Module) -> int:
    """Channels of the images that a segmentor takes: those of the first convolution of its backbone, 3 without one."""
    backbone: Any = model.backbone
    first = next((module for module in backbone.modules() if isinstance(module, nn.Conv2d)), None)
    return 3 if first is None else first.in_channels


class BaseSegmentor(QuietInit, BaseModel, metaclass=ABCMeta):
    """Base of the segmentors; a sub-class sets ``decode_head``, ``align_corners`` and ``out_channels``.

    Args:
        data_preprocessor: config of a data preprocessor, or one; None leaves batches as they are.
        init_cfg: mmengine initialisation config.
    """

    decode_head: Any
    align_corners: bool
    out_channels: int

    def __init__(
        self, data_preprocessor: dict | nn.Module | None = None, init_cfg: dict | list[dict] | None = None
    ) -> None:
        if isinstance(data_preprocessor, dict):
            data_preprocessor = MODELS.build(data_preprocessor)
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)

    @property
    def with_neck(self) -> bool:
        """Whether there is a neck."""
        return getattr(self, "neck", None) is not None

    @property
    def with_auxiliary_head(self) -> bool:
        """Whether there is an auxiliary head."""
        return getattr(self, "auxiliary_head", None) is not None

    @property
    def with_decode_head(self) -> bool:
        """Whether there is a decode head."""
        return getattr(self, "decode_head", None) is not None

    @abstractmethod
    def extract_feat(self, inputs: Tensor) -> Any:
        """Feature maps of images (N, C, H, W)."""

    @abstractmethod
    def encode_decode(self, inputs: Tensor, batch_img_metas: Sequence[dict]) -> Tensor:
        """Logits (N, K, H, W) of images (N, C, H, W)."""

    @abstractmethod
    def loss(self, inputs: Tensor, data_samples: Sequence[SegDataSample]) -> dict[str, Tensor]:
        """Named losses of a batch."""

    @abstractmethod
    def predict(self, inputs: Tensor, data_samples: Sequence[SegDataSample] | None = None) -> list[SegDataSample]:
        """Predictions of a batch."""

    @abstractmethod
    def _forward(self, inputs: Tensor, data_samples: Sequence[SegDataSample] | None = None) -> Any:
        """The network alone, without any processing of its result."""

    def forward(self, inputs: Tensor, data_samples: Any = None, mode: str = "tensor") -> Any:
        """Run the network for one of three purposes.

        Args:
            inputs: images, (N, C, H, W) floating, as the data preprocessor gives them.
            data_samples: N samples; with ground truth for ``'loss'``, optional otherwise.
            mode: ``'loss'``: a dictionary of losses; ``'predict'``: the samples with predictions; ``'tensor'``: raw
                logits.

        Raises:
            ConfigError: ``inputs`` is a list, for want of a data preprocessor.
            ValueError: another mode.
        """
        if isinstance(inputs, list | tuple):
            raise ConfigError(
                f"{type(self).__name__} received {len(inputs)} images in a {type(inputs).__name__} and no batch; give "
                "the model data_preprocessor=dict(type='SegDataPreProcessor', ...), which makes one"
            )
        if mode == "loss":
            return self.loss(inputs, data_samples)
        if mode == "predict":
            return self.predict(inputs, data_samples)
        if mode == "tensor":
            return self._forward(inputs, data_samples)
        raise ValueError(unknown_name_message("mode of a segmentor", str(mode), _MODES))

    def postprocess_result(
        self, seg_logits: Tensor, data_samples: Sequence[SegDataSample] | None = None
    ) -> list[SegDataSample]:
        """Bring logits to the size of the photographs and decide on classes.

        Padding is cropped, a flip undone, then the logits are resized to ``ori_shape``.

        Args:
            seg_logits: logits at the size of the network's input, (N, K, H, W).
            data_samples: N samples whose meta information has ``ori_shape`` and may have ``img_padding_size`` or
                ``padding_size`` (left, right, top, bottom), ``flip`` and ``flip_direction``; None makes samples whose
                results have the size of the logits.

        Returns:
            The samples, with ``pred_sem_seg`` (1, H, W) int64 and ``seg_logits`` (K, H, W), which is computed when it
            is read (for one channel: the sigmoid of the logits, as for mmsegmentation's).
        """
        return self.finish(self.coarse_logits(seg_logits, data_samples), data_samples)

    def coarse_logits(
        self,
        seg_logits: Tensor,
        data_samples: Sequence[SegDataSample] | None = None,
        input_size: Sequence[int] | None = None,
    ) -> list[CoarseLogits]:
        """Logits of a batch, image by image, with the way back to each photograph.

        Args:
            seg_logits: (N, K, h, w).
            data_samples: see :meth:`postprocess_result`.
            input_size: size (H, W) of the network's input; None when the logits have it.
        """
        height, width = seg_logits.shape[-2:] if input_size is None else input_size
        coarse = []
        for i, logits in enumerate(seg_logits):
            meta = {} if data_samples is None else data_samples[i].metainfo
            padding = meta.get("img_padding_size", meta.get("padding_size", (0, 0, 0, 0)))
            left, right, top, bottom = padding
            size = tuple(meta.get("ori_shape", (height - top - bottom, width - left - right)))[:2]
            flip = meta.get("flip_direction") if meta.get("flip") else None
            coarse.append(CoarseLogits(logits, size, self.align_corners, input_size, padding, flip))
        return coarse

    def finish(
        self, coarse: Sequence[CoarseLogits], data_samples: Sequence[SegDataSample] | None
    ) -> list[SegDataSample]:
        """Write predictions into the samples; ``seg_logits`` are made when somebody reads them.

        Args:
            coarse: of N images.
            data_samples: their samples; None makes new ones.

        Returns:
            The samples.
        """
        samples = [SegDataSample() for _ in coarse] if data_samples is None else list(data_samples)
        threshold = getattr(self.decode_head, "threshold", None)
        for sample, logits in zip(samples, coarse, strict=True):
            sample.set_data(dict(pred_sem_seg=PixelData(data=logits.argmax(threshold)[None])))
            # The sample keeps the coarse logits, not the resized ones: for a plain head they are 1/64 of the size.
            sample.set_seg_logits_lazily(partial(_scores, logits))
        return samples


def _scores(logits: CoarseLogits) -> Tensor:
    """What ``seg_logits`` holds: logits at the photograph's size, or the probability of the one channel."""
    full = logits.restore()
    return full if full.shape[0] > 1 else full.sigmoid()
