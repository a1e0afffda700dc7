"""What the comparisons share: build a thing twice, give both the same weights, measure the difference.

Error measure: ``max |ours - oracle| / max |oracle|`` per tensor. Gradients that are zero by construction (the bias in
front of a softmax over positions) hold only rounding noise in both; ``floor`` says below which absolute difference two
tensors are called equal.
"""

from __future__ import annotations

import copy
import importlib.util
import math
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from torch import Tensor, nn

if importlib.util.find_spec("mmseg") is None:
    pytest.skip(
        "the oracle (onedl-mmsegmentation) is not installed: pip install -r requirements/parity.txt",
        allow_module_level=True,
    )

import mmseg
import mmseg.registry
import mmseg.structures
from mmengine.structures import PixelData
from mmseg.utils import register_all_modules

import gcseg.registry
import gcseg.structures

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
sys.path.insert(0, str(GOLDEN))
from golden_tools import full_double, set_weights  # noqa: E402

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    register_all_modules(init_default_scope=False)

ORACLE_CONFIGS = Path(mmseg.__file__).parent / ".mim" / "configs"


__all__ = ["full_double"]  # handed on to the tests


def in_double(side: str, dtype: torch.dtype = torch.float64):
    """Context in which a side is compared: the oracle in float64 needs help not to lose digits, ours gets none."""
    return full_double() if side == "oracle" and dtype == torch.float64 else nullcontext()


def build(side: str, cfg: dict, kind: str = "MODELS", **kwargs):
    """Build ``cfg`` in the registry ``kind`` of ``side`` ('ours' or 'oracle'), with that scope in force."""
    package = {"ours": gcseg, "oracle": mmseg}[side]
    scope = {"ours": "gcseg", "oracle": "mmseg"}[side]
    with DefaultScope.overwrite_default_scope(scope), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(package.registry, kind).build(copy.deepcopy(cfg), **kwargs)


def pair(cfg: dict, kind: str = "MODELS", **kwargs) -> tuple:
    """The same config built by gcseg and by the oracle, in this order."""
    return build("ours", cfg, kind, **kwargs), build("oracle", cfg, kind, **kwargs)


def same_weights(ours: nn.Module, oracle: nn.Module, dtype: torch.dtype = torch.float64) -> None:
    """Randomise the oracle and load its state dict into ours, strictly; both end in ``dtype``.

    Fresh models have residual branches scaled by zero: most of their gradients vanish and prove nothing.
    """
    oracle.to(dtype)
    ours.to(dtype)
    set_weights(oracle)
    ours.load_state_dict(oracle.state_dict(), strict=True)


def error(ours: Tensor, oracle: Tensor) -> float:
    """Largest difference over the largest value of the oracle; infinite when shapes or finiteness differ."""
    if ours.shape != oracle.shape:
        return math.inf
    if ours.numel() == 0:
        return 0.0
    a, b = ours.detach().double(), oracle.detach().double()
    if not torch.equal(torch.isfinite(a), torch.isfinite(b)):
        return math.inf
    finite = torch.isfinite(b)
    if not finite.any():
        return 0.0
    scale = b[finite].abs().max().item()
    difference = (a[finite] - b[finite]).abs().max().item()
    return difference / scale if scale > 0 else difference


def assert_close(ours: Tensor, oracle: Tensor, rtol: float, what: str = "tensor", floor: float = 0.0) -> None:
    """Fail with the size of the difference when it exceeds ``rtol`` of the oracle's largest value."""
    assert ours.shape == oracle.shape, f"{what}: shape {tuple(ours.shape)} against {tuple(oracle.shape)}"
    if floor and ours.numel() and (ours.detach().double() - oracle.detach().double()).abs().max() <= floor:
        return
    off = error(ours, oracle)
    assert off <= rtol, f"{what}: differs by {off:.3e} relative (allowed {rtol:.0e})"


def assert_same_gradients(ours: nn.Module, oracle: nn.Module, rtol: float) -> None:
    """Every parameter has a gradient on both sides and they agree; at least half must not vanish."""
    mine = dict(ours.named_parameters())
    scale = max(p.grad.abs().max().item() for p in oracle.parameters() if p.grad is not None)
    counted = 0
    for name, parameter in oracle.named_parameters():
        theirs = parameter.grad
        assert (theirs is None) == (mine[name].grad is None), f"{name}: a gradient on one side only"
        if theirs is None:
            continue
        counted += theirs.abs().max().item() > 1e-8 * scale
        assert_close(mine[name].grad, theirs, rtol, f"gradient of {name}", floor=1e-14 * scale)
    assert counted > len(mine) // 2, f"only {counted} of {len(mine)} gradients are not zero: nothing was shown"


def blobs(shape: tuple[int, int], num_classes: int, rng: np.random.Generator, ignore: float = 0.1) -> np.ndarray:
    """A label map of rectangles, (H, W) int64, some of it 255."""
    height, width = shape
    out = np.zeros(shape, np.int64)
    for _ in range(12):
        y, x = rng.integers(0, height), rng.integers(0, width)
        h, w = rng.integers(1, max(height // 2, 2)), rng.integers(1, max(width // 2, 2))
        out[y : y + h, x : x + w] = rng.integers(0, num_classes)
    out[rng.random(shape) < ignore] = 255
    return out


def sample(side: str, label: np.ndarray | None, **meta):
    """A SegDataSample of ``side`` with a label (H, W) and meta information."""
    package = {"ours": gcseg, "oracle": mmseg}[side]
    data_sample = package.structures.SegDataSample()
    data_sample.set_metainfo(meta)
    if label is not None:
        data_sample.gt_sem_seg = PixelData(data=torch.as_tensor(label, dtype=torch.int64)[None])
    return data_sample


def batch(side: str, size: tuple[int, int], num_classes: int, n: int = 2, seed: int = 0, dtype=torch.float64):
    """Images (N, 3, H, W) ~ N(0, 1) and their samples, the same for both sides under one seed."""
    rng = np.random.default_rng(seed)
    images = torch.as_tensor(rng.standard_normal((n, 3, *size)), dtype=dtype)
    labels = [blobs(size, num_classes, rng) for _ in range(n)]
    meta = dict(ori_shape=size, img_shape=size, pad_shape=size, padding_size=[0, 0, 0, 0])
    return images, [sample(side, label, **meta) for label in labels]


def no_dropout(model: nn.Module) -> nn.Module:
    """Set every dropout probability to zero (training mode stays on)."""
    for module in model.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0
    return model


BN = dict(type="BN", requires_grad=True)


def small_model(
    head: dict | None = None,
    depth: int = 18,
    backbone: str = "ResNetV1c",
    num_classes: int = 5,
    align_corners: bool = False,
    aux: bool = True,
    width: int = 8,
    **changes,
) -> dict:
    """Config of a D8 EncoderDecoder of ``width`` channels; ``changes`` go to the backbone."""
    expansion = 1 if depth < 50 else 4
    cfg = dict(
        type="EncoderDecoder",
        backbone=dict(
            type=backbone,
            depth=depth,
            stem_channels=width,
            base_channels=width,
            num_stages=4,
            out_indices=(0, 1, 2, 3),
            dilations=(1, 1, 2, 4),
            strides=(1, 2, 1, 1),
            norm_cfg=BN,
            norm_eval=False,
            style="pytorch",
            contract_dilation=True,
        ),
        decode_head=dict(
            type="GCHead",
            in_channels=8 * width * expansion,
            in_index=3,
            channels=16,
            dropout_ratio=0,
            num_classes=num_classes,
            norm_cfg=BN,
            align_corners=align_corners,
            loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
        ),
        train_cfg=dict(),
        test_cfg=dict(mode="whole"),
    )
    cfg["backbone"].update(changes)
    cfg["decode_head"].update(head or {})
    if aux:
        cfg["auxiliary_head"] = dict(
            type="FCNHead",
            in_channels=4 * width * expansion,
            in_index=2,
            channels=8,
            num_convs=1,
            concat_input=False,
            dropout_ratio=0,
            num_classes=num_classes,
            norm_cfg=BN,
            align_corners=align_corners,
            loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=0.4),
        )
    return cfg
