"""Batch normalisations taken into the convolutions before them.

With running statistics, batch normalisation is an affine map per channel, so that ``bn(conv(x))`` is one convolution
with other weights and a bias. Torch has the formula (``torch.nn.utils.fusion``); here is the rule for where it applies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

# A sub-class with a forward of its own (standardised weights, say) may use the weights in another way.
_CONV_FORWARDS = {nn.Conv1d.forward, nn.Conv2d.forward, nn.Conv3d.forward}
_NORM_FORWARDS = {_BatchNorm.forward, nn.SyncBatchNorm.forward}


def fold_batch_norms(model: nn.Module) -> int:
    """Take every batch normalisation with running statistics into the convolution directly before it, in place.

    The outputs stay the same but for rounding (about 1e-6 of their scale in float32). The convolutions are replaced by
    new ones with a bias and the normalisations by ``nn.Identity``; both kinds of names change in the state dict.

    What directly follows what is known for the residual blocks and stems of :mod:`gcseg.models.backbones`, mmcv's
    ``ConvModule``, and ``nn.Sequential``; a sub-class with another forward pass is left alone. So is a pair of which a
    part is in training mode, keeps no running statistics, is used in several places, is parametrised, or has hooks,
    which would see something else.

    Args:
        model: any module; nothing in it that is in training mode is changed.

    Returns:
        How many were folded.
    """
    uses = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
    count = 0
    for owner in list(model.modules()):
        for conv_name, norm_name in list(_neighbours(owner)):
            conv, norm = getattr(owner, conv_name), getattr(owner, norm_name)
            if uses[id(conv)] == uses[id(norm)] == 1 and _is_foldable(conv, norm):
                setattr(owner, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(owner, norm_name, nn.Identity().eval())
                count += 1
    return count


def is_plain(module: nn.Module) -> bool:
    """Whether a module is a convolution or a linear layer that uses its weights as they are, and has no hooks."""
    return _is_untouched(module) and (type(module).forward in _conv_forwards() or type(module) is nn.Linear)


def _conv_forwards() -> set:
    from mmcv.cnn.bricks import wrappers

    return {*_CONV_FORWARDS, wrappers.Conv2d.forward, wrappers.Conv3d.forward}


def _neighbours(owner: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of two children of which the second takes what the first gives, and nobody else does."""
    from mmcv.cnn import ConvModule

    from gcseg.models.backbones.residual import ResidualBlock
    from gcseg.models.backbones.resnet import ResNet

    if "forward" in vars(owner):
        return
    kind = type(owner)
    if isinstance(owner, nn.Sequential) and kind.forward is nn.Sequential.forward:
        names = list(owner._modules)
        yield from pairwise(names)
    elif isinstance(owner, ConvModule) and kind.forward is ConvModule.forward:
        by_itself = getattr(owner, "efficient_conv_bn_eval_forward", None)  # mmcv's own folding, anew in every pass
        if owner.with_norm and "conv,norm" in ",".join(owner.order) and not by_itself:
            yield "conv", owner.norm_name
    elif isinstance(owner, ResidualBlock):
        if all(getattr(kind, step) is getattr(ResidualBlock, step) for step in ("forward", "_branch_plus_shortcut")):
            for number in range(1, owner.num_units + 1):
                yield f"conv{number}", getattr(owner, f"norm{number}_name")
    elif isinstance(owner, ResNet) and kind.forward is ResNet.forward and not owner.deep_stem:
        yield "conv1", owner.norm1_name


def _is_foldable(conv: nn.Module, norm: nn.Module) -> bool:
    return (
        type(conv).forward in _conv_forwards()
        and _is_untouched(conv)
        and type(norm).forward in _NORM_FORWARDS
        and _is_untouched(norm)
        and not (conv.training or norm.training)
        and norm.running_mean is not None
        and norm.running_var is not None
    )


def _is_untouched(module: nn.Module) -> bool:
    state = vars(module)
    hooked = any(state.get(f"_{kind}_hooks") for kind in ("forward", "forward_pre", "backward", "backward_pre"))
    return not hooked and "forward" not in state and not hasattr(module, "parametrizations")
