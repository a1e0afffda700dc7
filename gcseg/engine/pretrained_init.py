"""Weights that a model starts from, for images of any number of channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from mmengine.logging import print_log
from mmengine.model import PretrainedInit as _PretrainedInit
from mmengine.model import update_init_info
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import load_state_dict
from torch import Tensor, nn

from gcseg.engine.state_dict import STRIP_MODULE, revise
from gcseg.registry import WEIGHT_INITIALIZERS
from gcseg.utils.errors import CheckpointError, WeightsNotFoundError


@WEIGHT_INITIALIZERS.register_module(name="Pretrained")
class PretrainedInit(_PretrainedInit):
    """``init_cfg=dict(type="Pretrained", checkpoint=...)``: mmengine's, with :func:`for_its_images`.

    Args:
        checkpoint: a file, a URL, or a name such as ``open-mmlab://resnet50_v1c``.
        prefix: of the tensors to take; None takes all.
        map_location: as in ``torch.load``.
    """

    def __call__(self, module: nn.Module) -> None:
        """Load what fits into a module; the log has the rest."""
        print_log(f"load {self.prefix or 'model'} from: {self.checkpoint}", logger="current")
        try:
            found = CheckpointLoader.load_checkpoint(self.checkpoint, self.map_location, "current")
        except WeightsNotFoundError as e:
            raise WeightsNotFoundError(
                f"{str(e).rstrip('.')}. To begin with random weights set model.pretrained=None, or init_cfg=None where "
                "the config names them there"
            ) from e
        weights = revise(found.get("state_dict", found), STRIP_MODULE, self.checkpoint)
        if self.prefix is not None:
            prefix = f"{self.prefix.removesuffix('.')}."
            weights = {name.removeprefix(prefix): v for name, v in weights.items() if name.startswith(prefix)}
            if not weights:
                raise CheckpointError(f"{self.checkpoint}: none of its tensors has a name that begins with {prefix}")
        load_state_dict(module, for_its_images(weights, module, self.checkpoint), strict=False, logger="current")
        if hasattr(module, "_params_init_info"):
            update_init_info(module, init_info=self._get_init_info())


def for_its_images(weights: Mapping[str, Tensor], module: nn.Module, name: str) -> dict[str, Tensor]:
    """Weights for images of 3 channels, as a module takes them whose images have another number.

    Args:
        weights: name -> tensor, not changed.
        module: where a convolution (O, 3, h, w) of the weights has (O, k, h, w), it gets :func:`spread_channels`.
        name: what to call the weights in the log.
    """
    fitting = dict(weights)
    for key, ours in module.state_dict().items():
        if key in fitting and _differ_in_image_channels(fitting[key].shape, ours.shape):
            fitting[key] = spread_channels(fitting[key], ours.shape[1])
            print_log(f"{name}: {key} is for images of 3 channels, and spread over {ours.shape[1]}", logger="current")
    return fitting


def _differ_in_image_channels(theirs: Sequence[int], ours: Sequence[int]) -> bool:
    return len(theirs) == 4 and theirs[1] == 3 != ours[1] and (theirs[0], *theirs[2:]) == (ours[0], *ours[2:])


def spread_channels(weight: Tensor, channels: int) -> Tensor:
    """Weights of a first convolution for another number of channels, with the same response to a grey image.

    Args:
        weight: (O, 3, h, w), for red, green and blue.
        channels: k. From 3 on, channel i gets the weights of colour i modulo 3, divided by how many channels that
            colour has. Fewer channels get the k-th part of the sum over the colours each.

    Returns:
        (O, k, h, w); its sum over the channels is that of ``weight``.
    """
    if channels < 3:
        return weight.sum(1, keepdim=True).repeat(1, channels, 1, 1) / channels
    colour = torch.arange(channels, device=weight.device) % 3
    return weight[:, colour] / colour.bincount()[colour].to(weight.dtype).view(-1, 1, 1)
