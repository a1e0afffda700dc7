"""Networks that turn an image into feature maps."""

from gcseg.models.backbones.residual import BasicBlock, Bottleneck
from gcseg.models.backbones.resnet import ResNet, ResNetV1c, ResNetV1d
from gcseg.models.plugins import ContextBlock, NonLocal2d

__all__ = ["BasicBlock", "Bottleneck", "ContextBlock", "NonLocal2d", "ResNet", "ResNetV1c", "ResNetV1d"]
