"""Models: context blocks, backbones, decode heads, losses, segmentors and the data preprocessor.

Names are imported when they are first used (PEP 562): ``from gcseg.models import GCHead`` loads the heads and what they
need, and ``gcseg.models.context`` loads torch alone.
"""

from gcseg.utils.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        ".context": (
            "DisentangledNonLocal2d",
            "GlobalContext",
            "NonLocal",
            "SE",
            "SimplifiedNonLocal",
            "attention_pool",
            "context_block",
        ),
        ".plugins": ("ContextBlock", "NonLocal2d"),
        ".backbones": ("BasicBlock", "Bottleneck", "ResNet", "ResNetV1c", "ResNetV1d"),
        ".decode_heads": (
            "BaseDecodeHead",
            "ContextHead",
            "DNLHead",
            "FCNHead",
            "GCHead",
            "NLHead",
            "SEHead",
            "SNLHead",
        ),
        ".losses": (
            "Accuracy",
            "CrossEntropyLoss",
            "DiceLoss",
            "FocalLoss",
            "LovaszLoss",
            "OHEMPixelSampler",
            "TverskyLoss",
            "accuracy",
            "binary_cross_entropy",
            "cross_entropy",
            "mask_cross_entropy",
            "reduce_loss",
            "weight_reduce_loss",
            "weighted_loss",
        ),
        ".segmentors": ("BaseSegmentor", "EncoderDecoder", "SegTTAModel"),
        ".data_preprocessor": ("SegDataPreProcessor",),
        ".builder": (
            "BACKBONES",
            "HEADS",
            "LOSSES",
            "NECKS",
            "SEGMENTORS",
            "build_backbone",
            "build_head",
            "build_loss",
            "build_neck",
            "build_segmentor",
        ),
    },
)
