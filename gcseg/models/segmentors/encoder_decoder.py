"""A backbone, perhaps a neck, a decode head, and auxiliary heads that only help in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.model import BaseModule
from torch import Tensor, nn

from gcseg.models.decode_heads import BaseDecodeHead
from gcseg.models.segmentors.base import BaseSegmentor
from gcseg.models.segmentors.inference import InferenceOptions, slide_inference, whole_inference
from gcseg.ops import CoarseLogits
from gcseg.registry import MODELS
from gcseg.structures import SegDataSample
from gcseg.utils.errors import ConfigError
from gcseg.utils.names import add_prefix

# Who overrides one of these wants to see, or to make, logits at the resolution of the image.
_SEGMENTOR_STEPS = ("encode_decode", "inference", "whole_inference")
_HEAD_STEPS = ("predict", "predict_by_feat")


def _build(part: Any) -> Any:
    """A part from its config. A finished one of another library keeps its weights."""
    if isinstance(part, dict):
        return MODELS.build(part)
    if not isinstance(part, BaseModule):
        part.is_init = True  # else mmengine's init_weights calls theirs, which may replace trained weights
    return part


@MODELS.register_module()
class EncoderDecoder(BaseSegmentor):
    """A segmentor of a backbone and a decode head.

    Every part is given as a config or as a module. ``init_weights`` leaves a module that is not mmengine's as it is.

    Args:
        backbone: from images (N, C, H, W) to a tuple of feature maps.
        decode_head: from feature maps to logits; its ``align_corners``, ``num_classes`` and ``out_channels`` are the
            segmentor's.
        neck: from a tuple of feature maps to another one.
        auxiliary_head: one head, or a list of them; their losses are added in training.
        train_cfg: handed on to the ``loss`` of the heads.
        test_cfg: ``dict(mode='whole')``, or ``dict(mode='slide', crop_size=(h, w), stride=(h, w))``, perhaps with
            ``windows_per_batch=k``; read anew at each prediction and never changed.
        data_preprocessor: config of a data preprocessor, or one.
        pretrained: weights for the backbone's ``pretrained``.
        init_cfg: mmengine initialisation config.

    Raises:
        ConfigError: ``test_cfg`` is unusable, or weights are given both here and in the backbone.
    """

    def __init__(
        self,
        backbone: dict | nn.Module,
        decode_head: dict | nn.Module,
        neck: dict | nn.Module | None = None,
        auxiliary_head: dict | nn.Module | Sequence[dict | nn.Module] | None = None,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        pretrained: str | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        if pretrained is not None:
            backbone = _with_pretrained(backbone, pretrained)
        InferenceOptions.from_config(test_cfg)
        self.backbone = _build(backbone)
        if neck is not None:
            self.neck = _build(neck)
        self.decode_head = _build(decode_head)
        self.align_corners = self.decode_head.align_corners
        self.num_classes = self.decode_head.num_classes
        self.out_channels = self.decode_head.out_channels
        if isinstance(auxiliary_head, (list, tuple)):
            self.auxiliary_head = nn.ModuleList([_build(head) for head in auxiliary_head])
        elif auxiliary_head is not None:
            self.auxiliary_head = _build(auxiliary_head)
        self.train_cfg = train_cfg
        self.test_cfg = test_cfg

    def extract_feat(self, inputs: Tensor) -> Any:
        """Feature maps of images.

        Args:
            inputs: images, (N, C, H, W).

        Returns:
            What the neck, or else the backbone, returns: a tuple of (N, C_i, H_i, W_i).
        """
        features = self.backbone(inputs)
        return self.neck(features) if self.with_neck else features

    def encode_decode(self, inputs: Tensor, batch_img_metas: Sequence[dict]) -> Tensor:
        """Logits at the resolution of the images.

        Args:
            inputs: images, (N, C, H, W).
            batch_img_metas: meta information; of the first one ``pad_shape``, else ``img_shape``, must be (H, W).

        Returns:
            (N, K, H, W).
        """
        return self.decode_head.predict(self.extract_feat(inputs), batch_img_metas, self.test_cfg)

    def loss(self, inputs: Tensor, data_samples: Sequence[SegDataSample]) -> dict[str, Tensor]:
        """Losses of all heads.

        Args:
            inputs: images, (N, C, H, W).
            data_samples: N samples with ``gt_sem_seg``.

        Returns:
            ``decode.*``, and ``aux.*`` for one auxiliary head or ``aux_0.*``, ``aux_1.*`` ... for a list of them.
        """
        features = self.extract_feat(inputs)
        heads = {"decode": self.decode_head}
        if self.with_auxiliary_head:
            if isinstance(self.auxiliary_head, nn.ModuleList):
                heads.update({f"aux_{i}": head for i, head in enumerate(self.auxiliary_head)})
            else:
                heads["aux"] = self.auxiliary_head
        losses = {}
        for prefix, head in heads.items():
            losses.update(add_prefix(head.loss(features, data_samples, self.train_cfg), prefix))
        return losses

    def predict(self, inputs: Tensor, data_samples: Sequence[SegDataSample] | None = None) -> list[SegDataSample]:
        """Classes of every pixel of the photographs.

        Args:
            inputs: images, (N, C, H, W).
            data_samples: N samples with meta information; None for results at the size of ``inputs``. They may differ
                in ``ori_shape``, padding and flip.

        Returns:
            The samples with ``pred_sem_seg`` and ``seg_logits``, see :meth:`postprocess_result`.
        """
        coarse = self.predict_coarse(inputs, data_samples)
        if coarse is not None:
            return self.finish(coarse, data_samples)
        metas = [{} for _ in inputs] if data_samples is None else [sample.metainfo for sample in data_samples]
        return self.postprocess_result(self.inference(inputs, metas), data_samples)

    def predict_coarse(
        self, inputs: Tensor, data_samples: Sequence[SegDataSample] | None = None
    ) -> list[CoarseLogits] | None:
        """:meth:`predict` without its last step, for who wants something else than classes.

        Args:
            inputs: see :meth:`predict`.
            data_samples: see :meth:`predict`; not changed.

        Returns:
            N coarse logits; None when a sub-class has steps of its own between the head's logits and the result.
        """
        if type(self).postprocess_result is not EncoderDecoder.postprocess_result:
            return None
        if self._joins_steps() and InferenceOptions.from_config(self.test_cfg).mode == "whole":
            logits = self.decode_head.forward(self.extract_feat(inputs))
            return self.coarse_logits(logits, data_samples, input_size=tuple(inputs.shape[-2:]))
        metas = [{} for _ in inputs] if data_samples is None else [sample.metainfo for sample in data_samples]
        return self.coarse_logits(self.inference(inputs, metas), data_samples)

    def _joins_steps(self) -> bool:
        """Whether the steps from the logits of the head to those of the image are ours, so that they can be joined."""
        own = isinstance(self.decode_head, BaseDecodeHead)
        own = own and all(getattr(type(self), step) is getattr(EncoderDecoder, step) for step in _SEGMENTOR_STEPS)
        return own and all(
            getattr(type(self.decode_head), step) is getattr(BaseDecodeHead, step) for step in _HEAD_STEPS
        )

    def _forward(self, inputs: Tensor, data_samples: Sequence[SegDataSample] | None = None) -> Tensor:
        """Raw logits at the resolution of the head, (N, K, h, w)."""
        return self.decode_head.forward(self.extract_feat(inputs))

    def inference(self, inputs: Tensor, batch_img_metas: Sequence[dict]) -> Tensor:
        """Logits at the resolution of the images, in the mode of ``test_cfg``.

        Args:
            inputs: images, (N, C, H, W).
            batch_img_metas: N dictionaries of meta information; not changed.

        Returns:
            (N, K, H, W).

        Raises:
            ConfigError: ``test_cfg`` is unusable.
        """
        if InferenceOptions.from_config(self.test_cfg).mode == "slide":
            return self.slide_inference(inputs, batch_img_metas)
        return self.whole_inference(inputs, batch_img_metas)

    def whole_inference(self, inputs: Tensor, batch_img_metas: Sequence[dict]) -> Tensor:
        """Logits of whole images, (N, K, H, W); see :meth:`inference`."""
        return whole_inference(lambda images: self._encode_decode_as(images, batch_img_metas), inputs)

    def slide_inference(self, inputs: Tensor, batch_img_metas: Sequence[dict]) -> Tensor:
        """Logits of overlapping windows, averaged, (N, K, H, W); see :meth:`inference`."""
        options = InferenceOptions.from_config(self.test_cfg)

        joins_steps = self._joins_steps()

        def network(windows: Tensor) -> Tensor:
            if joins_steps:
                return self.decode_head.forward(self.extract_feat(windows))
            return self._encode_decode_as(windows, [*batch_img_metas] * (len(windows) // len(inputs)))

        return slide_inference(
            network,
            inputs,
            options.crop_size,
            options.stride,
            align_corners=self.align_corners,
            windows_per_batch=options.windows_per_batch,
        )

    def _encode_decode_as(self, inputs: Tensor, batch_img_metas: Sequence[dict]) -> Tensor:
        """:meth:`encode_decode` with meta information that tells the size of these very inputs."""
        size = inputs.shape[-2:]
        return self.encode_decode(inputs, [dict(meta, img_shape=size, pad_shape=size) for meta in batch_img_metas])


def _with_pretrained(backbone: Any, pretrained: str) -> dict:
    if not isinstance(backbone, Mapping):
        raise ConfigError(
            f"pretrained={pretrained!r}: the backbone is a finished {type(backbone).__name__}; give it weights where "
            "it is made, or pass its config"
        )
    if backbone.get("pretrained") is not None:
        raise ConfigError(
            f"pretrained={pretrained!r}, but the backbone has pretrained={backbone['pretrained']!r} already; keep one"
        )
    return dict(backbone, pretrained=pretrained)
