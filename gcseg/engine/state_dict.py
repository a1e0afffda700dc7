"""Putting weights into a model, and saying what did not fit."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from gcseg.utils.errors import CheckpointError
from gcseg.utils.signatures import shortened

STRIP_MODULE = ((r"^module\.", ""),)
_MIN_MATCH = 0.5
_LONGEST_NAME = 120  # of a tensor, in messages
# Heads that only train: their absence from a checkpoint does not change a prediction.
_TRAINING_ONLY = ("auxiliary_head", "auxiliary_heads")
# A name inside the decode head that only one kind of head has.
_HEAD_SIGNS = {
    "gc_block": "GCHead",
    "dnl_block": "DNLHead",
    "nl_block": "NLHead",
    "psp_modules": "PSPHead",
    "aspp_modules": "ASPPHead",
    "cca": "CCHead",
    "ema_module": "EMAHead",
    "se_module": "SE head",
    "snl_block": "SNL head",
}


@dataclass
class LoadReport:
    """What :func:`load_into_model` did; every list holds names of tensors.

    Attributes:
        loaded: in both and of one shape.
        mismatched: name -> (shape in the checkpoint, shape in the model); left out.
        missing: in the model alone; they keep the values they had.
        unexpected: in the checkpoint alone; left out.
    """

    loaded: list[str] = field(default_factory=list)
    mismatched: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Nothing was left out and nothing was missing."""
        return not (self.mismatched or self.missing or self.unexpected)

    def __str__(self) -> str:
        total = len(self.loaded) + len(self.mismatched) + len(self.missing)
        lines = [f"{len(self.loaded)} of the model's {total} tensors loaded"]
        for name, (theirs, ours) in self.mismatched.items():
            lines.append(f"  left out {_readable(name)}: {theirs} in the checkpoint, {ours} in the model")
        lines += [f"  not in the checkpoint: {line}" for line in _shorten(self.missing)]
        lines += [f"  left out, not in the model: {line}" for line in _shorten(self.unexpected)]
        return "\n".join(lines)


def _readable(name: str) -> str:
    """A name of a tensor as it can be printed."""
    return name if name.isprintable() and len(name) <= _LONGEST_NAME else shortened(name, _LONGEST_NAME)


def _shorten(names: Sequence[str], most: int = 12) -> list[str]:
    more = [f"... and {len(names) - most} more"] if len(names) > most else []
    return [_readable(name) for name in names[:most]] + more


def revise(
    state_dict: Mapping[str, Tensor], revise_keys: Sequence[tuple[str, str]], name: str = "checkpoint"
) -> dict[str, Tensor]:
    """Rename keys by (pattern, replacement) pairs in turn; keeps everything that is not a tensor out.

    Raises:
        CheckpointError: a tensor has no name, or two get the same one.
    """
    revised: dict[str, Tensor] = {}
    for old, value in state_dict.items():
        if not isinstance(value, Tensor):
            continue
        if not isinstance(old, str):
            raise CheckpointError(f"{name}: a tensor is called {shortened(old)}; the names of weights are strings")
        key = old
        for pattern, replacement in revise_keys:
            key = re.sub(pattern, replacement, key)
        if key in revised:
            raise CheckpointError(
                f"{name}: two of its tensors would be called {_readable(key)}, one of them is {_readable(old)} there; "
                "take one of them out"
            )
        revised[key] = value
    return revised


def compare(model: nn.Module, state_dict: Mapping[str, Tensor]) -> LoadReport:
    """What loading ``state_dict`` into ``model`` would do; loads nothing. Counters of batch norm may be absent."""
    report = LoadReport()
    ours = model.state_dict()
    for name, value in ours.items():
        if name not in state_dict:
            if not name.endswith("num_batches_tracked"):
                report.missing.append(name)
        elif state_dict[name].shape != value.shape:
            report.mismatched[name] = (tuple(state_dict[name].shape), tuple(value.shape))
        else:
            report.loaded.append(name)
    report.unexpected = [name for name in state_dict if name not in ours]
    return report


def check_fit(model: nn.Module, state_dict: Mapping[str, Tensor], strict: bool, name: str = "checkpoint") -> LoadReport:
    """Decide whether weights may go into a model.

    Args:
        model: receives the weights.
        state_dict: name -> tensor, names already revised.
        strict: the model is to predict with these weights alone, so that all of its tensors must be there, and none of
            its backbone and head may be left over (auxiliary heads may differ). Otherwise half of the model's tensors
            must fit, which is what fine-tuning with another head or another number of classes needs.
        name: what to call the checkpoint in errors.

    Raises:
        CheckpointError: too little fits; the message counts what matched and names the likely cause. Or what fits is
            no dense array of numbers, or not finite.
    """
    ours = model.state_dict()
    for key in [key for key in ours if key in state_dict]:
        if not _is_dense(state_dict[key]):
            raise CheckpointError(
                f"{name}: {key} is a {_kind(state_dict[key])} tensor; weights are dense arrays of real numbers. "
                "Convert them before they are saved"
            )
    report = compare(model, state_dict)
    broken = [key for key in report.loaded if not _is_finite(state_dict[key])]
    if broken:
        raise CheckpointError(
            f"{name}: {len(broken)} of its tensors hold nan or infinity, such as {broken[0]}: the run that wrote it "
            "has diverged. Use an earlier checkpoint"
        )
    total = len(report.loaded) + len(report.mismatched) + len(report.missing)
    too_few = total > 0 and len(report.loaded) < _MIN_MATCH * total
    wrong = [k for k in [*report.missing, *report.mismatched] if not k.startswith(_TRAINING_ONLY)]
    left_over = [k for k in report.unexpected if k.startswith(("backbone.", "decode_head.", "neck."))]
    if too_few or (strict and (wrong or left_over)):
        examples = []
        if report.mismatched:
            key, (theirs, our) = next(iter(report.mismatched.items()))
            examples.append(f"{key} is {theirs} there and {our} here")
        if report.missing:
            examples.append(f"{len(report.missing)} are not in it, such as {report.missing[0]}")
        if report.unexpected:
            example = _readable(report.unexpected[0])
            examples.append(f"{len(report.unexpected)} of its own are not in the model, such as {example}")
        raise CheckpointError(
            f"{name}: {len(report.loaded)} of the model's {total} tensors match; {'; '.join(examples)}. "
            f"{likely_cause(model.state_dict(), state_dict, report)}"
        )
    return report


def _is_dense(value: Tensor) -> bool:
    unusual = value.is_nested or value.is_quantized or value.is_meta or value.is_complex()
    return not unusual and value.layout == torch.strided


def _kind(value: Tensor) -> str:
    kinds = {"nested": value.is_nested, "quantized": value.is_quantized, "complex": value.is_complex()}
    found = [kind for kind, is_it in kinds.items() if is_it]
    return found[0] if found else "sparse" if value.layout != torch.strided else "meta"


def _is_finite(value: Tensor) -> bool:
    if not value.is_floating_point():
        return True
    numbers = value.detach().float()
    # The sum needs no second tensor, and is finite where all numbers are of a size that weights have.
    return bool(numbers.sum().isfinite()) or bool(numbers.isfinite().all())


def load_into_model(
    model: nn.Module,
    ckpt: Mapping,
    strict: bool = False,
    revise_keys: Sequence[tuple[str, str]] = STRIP_MODULE,
    name: str = "checkpoint",
) -> LoadReport:
    """Load weights that fit, and report the rest.

    Args:
        model: receives the weights; its tensors keep their dtype and device.
        ckpt: what ``load_checkpoint_file`` returns, or a bare state dict.
        strict: see :func:`check_fit`. Use True to predict, False to fine-tune.
        revise_keys: (pattern, replacement) pairs applied to every name in turn.
        name: what to call the checkpoint in errors.

    Raises:
        CheckpointError: too little fits.
    """
    weights = revise(ckpt.get("state_dict", ckpt), revise_keys, name)
    report = check_fit(model, weights, strict, name)
    model.load_state_dict({key: weights[key] for key in report.loaded}, strict=False)
    return report


def likely_cause(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], report: LoadReport) -> str:
    """One sentence: why the names or shapes differ, and what to do."""
    bare = [k for k in theirs if k.startswith(("layer1.", "stem.", "conv1."))]
    if bare and not any(k.startswith("backbone.") for k in theirs):
        return (
            "It is a backbone alone (ImageNet weights): give it as model.backbone.init_cfg=dict(type='Pretrained', "
            "checkpoint=...), not as a checkpoint of the whole model."
        )
    if report.unexpected:
        prefix = _readable(report.unexpected[0].split(".")[0])
        inner = {k[len(prefix) + 1 :] for k in theirs if k.startswith(prefix + ".")}
        if len(inner & set(ours)) > len(ours) // 2:
            return f"Its names begin with `{prefix}.`: pass revise_keys=[(r'^{prefix}\\.', '')]."
    depth_ours, depth_theirs = _backbone(ours), _backbone(theirs)
    if depth_ours and depth_theirs and depth_ours != depth_theirs:
        return (
            f"It has {depth_theirs} as backbone and the config says {depth_ours}: use the config it was trained with."
        )
    head_ours, head_theirs = _head(ours), _head(theirs)
    if head_ours != head_theirs:
        return (
            f"It has {head_theirs} as decode head and the config says {head_ours}: use the config it was trained with."
        )
    classes = [v for k, v in report.mismatched.items() if "conv_seg" in k and v[0][:1] != v[1][:1] and v[0]]
    if classes:
        there, here = classes[0][0][0], classes[0][1][0]
        return (
            f"It was trained for {there} classes and the config says {here}: to evaluate it use its own config; to "
            "fine-tune from it, train with load_from=..., which leaves the classifier out."
        )
    return "It belongs to another architecture: use the config it was trained with."


def _backbone(names: Mapping[str, Tensor]) -> str:
    """A name for the ResNet in a state dict, such as ``ResNetV1c-50``; empty when there is none."""
    blocks = []
    for stage in (1, 2, 3, 4):
        found = {k.split(".")[2] for k in names if k.startswith(f"backbone.layer{stage}.")}
        blocks.append(len(found))
    if not any(blocks):
        return ""
    bottleneck = any(re.match(r"backbone\.layer1\.0\.conv3\.", k) for k in names)
    depths = {(2, 2, 2, 2): 18, (3, 4, 6, 3): 50 if bottleneck else 34, (3, 4, 23, 3): 101, (3, 8, 36, 3): 152}
    depth = depths.get((blocks[0], blocks[1], blocks[2], blocks[3]), f"with {'-'.join(map(str, blocks))} blocks")
    family = "ResNetV1c" if any(k.startswith("backbone.stem.") for k in names) else "ResNet"
    width = names.get("backbone.layer1.0.conv1.weight")
    narrow = f" of width {width.shape[0]}" if width is not None and width.shape[0] != 64 else ""
    return f"{family}-{depth}{narrow}"


def _head(names: Mapping[str, Tensor]) -> str:
    parts = {k.split(".")[1] for k in names if k.startswith("decode_head.") and "." in k}
    for sign, kind in _HEAD_SIGNS.items():
        if sign in parts:
            return kind
    return (
        "FCNHead" if "convs" in parts else f"a head with {', '.join(map(_readable, sorted(parts))) or 'no parameters'}"
    )
