"""Losses from coarse logits are those from resized ones."""

import pytest
import torch
from mmengine.structures import PixelData

from gcseg.models import FCNHead
from gcseg.models.losses import CrossEntropyLoss
from gcseg.models.losses.utils import starts_from_cross_entropy
from gcseg.structures import SegDataSample

CE = dict(type="CrossEntropyLoss")
CASES = {
    "plain": dict(),
    "avg_non_ignore": dict(loss_decode=dict(CE, avg_non_ignore=True)),
    "class weights": dict(loss_decode=dict(CE, class_weight=[0.5, 1.0, 2.0, 0.0])),
    "class weights, avg_non_ignore": dict(loss_decode=dict(CE, class_weight=[0.5, 1, 2, 3], avg_non_ignore=True)),
    "sum": dict(loss_decode=dict(CE, reduction="sum", loss_weight=0.4)),
    "ohem": dict(sampler=dict(type="OHEMPixelSampler", thresh=0.3, min_kept=20)),
    "ohem by loss": dict(sampler=dict(type="OHEMPixelSampler", min_kept=20)),
    "ohem by two losses": dict(
        sampler=dict(type="OHEMPixelSampler", min_kept=20), loss_decode=[CE, dict(type="FocalLoss")]
    ),
    "list": dict(loss_decode=[CE, dict(type="DiceLoss", loss_weight=0.5), dict(CE, class_weight=[1, 2, 3, 4])]),
    "align_corners": dict(align_corners=True),
    "nothing ignored": dict(ignore_index=None),
}


class FromLogits(CrossEntropyLoss):
    """Its own forward, so that a head gives it resized logits."""

    def forward(self, *args, **kwargs):
        return super().forward(*args, **kwargs)


def batch(ignored):
    g = torch.Generator().manual_seed(0)
    samples = []
    for _ in range(2):
        label = torch.randint(0, 4, (1, 24, 31), generator=g)
        if ignored:
            label[torch.rand(label.shape, generator=g) < 0.3] = 255
        samples.append(SegDataSample(gt_sem_seg=PixelData(data=label)))
    return torch.randn(2, 4, 5, 6, dtype=torch.float64, generator=g), samples


def losses_of(head, logits, samples):
    logits = logits.clone().requires_grad_()
    losses = head.loss_by_feat(logits, samples)
    total = sum(value.sum() for name, value in losses.items() if "loss" in name)
    return losses, torch.autograd.grad(total, logits)[0]


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_same_losses_gradients_and_accuracy(options):
    head = FCNHead(in_channels=3, channels=4, num_classes=4, **options).double()
    logits, samples = batch(head.ignore_index is not None)
    from_pixels, gradient = losses_of(head, logits, samples)

    plain = FCNHead(in_channels=3, channels=4, num_classes=4, **options).double()
    several = isinstance(plain.loss_decode, torch.nn.ModuleList)
    for module in plain.loss_decode if several else [plain.loss_decode]:
        if isinstance(module, CrossEntropyLoss):
            module.__class__ = FromLogits
            assert not starts_from_cross_entropy(module)
    if plain.sampler is not None:
        plain.sampler.__class__ = type(
            "Mine", (type(plain.sampler),), {"sample": lambda s, *a: super(type(s), s).sample(*a)}
        )
    wanted, wanted_gradient = losses_of(plain, logits, samples)
    assert from_pixels.keys() == wanted.keys()
    for name in wanted:
        torch.testing.assert_close(from_pixels[name], wanted[name], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-9, atol=1e-9)
    assert gradient.abs().max() > 0


def test_logits_are_resized_for_those_who_need_it_and_no_others(monkeypatch):
    from gcseg.models.decode_heads import decode_head

    sizes = []
    real = decode_head.resize
    monkeypatch.setattr(decode_head, "resize", lambda *a, **k: sizes.append(k["size"]) or real(*a, **k))
    logits, samples = batch(True)
    for case, count in (("plain", 0), ("class weights", 0), ("ohem", 0), ("ohem by loss", 0), ("list", 1)):
        sizes.clear()
        losses_of(FCNHead(in_channels=3, channels=4, num_classes=4, **CASES[case]).double(), logits, samples)
        assert len(sizes) == count, case
