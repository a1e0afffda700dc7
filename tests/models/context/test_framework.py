"""Every modelling with every transform and every fusion, on one, two and three axes."""

from functools import partial
from itertools import product
from math import prod

import pytest
import torch
from model_contract import ModelContract, randomise
from torch import nn
from torch.nn.functional import layer_norm
from torch.utils._python_dispatch import TorchDispatchMode

from gcseg.models.context import (
    SE,
    DisentangledNonLocal2d,
    GlobalContext,
    NonLocal,
    PairwiseContext,
    SimplifiedNonLocal,
    context_block,
)

TRANSFORMS = {
    "linear": dict(transform="linear"),
    "bottleneck": dict(transform="bottleneck", layer_norm=False),
    "bottleneck+LN": dict(transform="bottleneck"),
}
CELLS = [
    pytest.param(dict(modelling=m, fusion=f, **TRANSFORMS[t]), id=f"{m}-{t}-{f}")
    for m, t, f in product(("attention", "average", "pairwise"), TRANSFORMS, ("add", "scale", "both"))
]


def mix(layer, vector):
    """A 1x1 convolution of one vector of channels."""
    return layer.weight.flatten(1) @ vector + layer.bias


def transformed(transform, vector):
    if len(transform) == 1:
        return mix(transform[0], vector)
    hidden = mix(transform[0], vector)
    if not isinstance(transform[1], nn.Identity):
        hidden = layer_norm(hidden, hidden.shape, transform[1].weight.flatten(), transform[1].bias.flatten())
    return mix(transform[3], hidden.relu())


def spelt_out(block, x):
    """The framework of the paper, one position after the other: (C, P) to (C, P)."""
    columns = x.unbind(1)

    def context_of(i):
        if isinstance(block, PairwiseContext):
            query, *keys = (
                mix(layer.conv, c) for layer, c in ((block.theta, columns[i]), *((block.phi, c) for c in columns))
            )
            scores = torch.stack([query @ key for key in keys]) / len(query) ** 0.5
            return sum(w * mix(block.g.conv, c) for w, c in zip(scores.softmax(0), columns, strict=True))
        if block.conv_mask is None:
            return sum(columns) / len(columns)
        scores = torch.cat([mix(block.conv_mask, c) for c in columns])
        return sum(w * c for w, c in zip(scores.softmax(0), columns, strict=True))

    out = []
    for i, column in enumerate(columns):
        context, result = context_of(i), column
        if block.channel_mul_conv is not None:
            result = result * transformed(block.channel_mul_conv, context).sigmoid()
        add = getattr(block, block.add_name)
        out.append(result if add is None else result + transformed(add, context))
    return torch.stack(out, 1)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("positions", [(5,), (3, 4), (2, 3, 2)], ids=["1d", "2d", "3d"])
def test_formula(cell, positions):
    block = randomise(context_block(8, dims=len(positions), **cell)).double()
    x = torch.randn(2, 8, *positions, generator=torch.Generator().manual_seed(1)).double()
    expected = torch.stack([spelt_out(block, image.flatten(1)) for image in x]).reshape(x.shape)
    torch.testing.assert_close(block(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_a_new_block_adds_nothing_and_scales_by_a_half(cell):
    x = torch.randn(2, 8, 3, 4)
    torch.testing.assert_close(context_block(8, **cell)(x), x if cell["fusion"] == "add" else x / 2)
    assert (context_block(8, **cell, zeros_init=False)(x) - x).abs().max() > 1e-6


class TestPairwiseBottleneckBoth(ModelContract):
    channels = 8
    sizes = [(9, 5), (7, 4)]
    without_effect = ("phi.conv.bias",)

    def make(self):
        return context_block(8, "pairwise", "bottleneck", "both")

    def images(self, n=2, h=9, w=7):
        return super().images(n, h, w)

    def shapes(self, n, h, w):
        return [(n, 8, h, w)]


class TestSimplifiedNonLocal(TestPairwiseBottleneckBoth):
    without_effect = ("conv_mask.bias",)

    def make(self):
        return SimplifiedNonLocal(8)


class TestSqueezeExcitation(TestPairwiseBottleneckBoth):
    without_effect = ()

    def make(self):
        return SE(8, ratio=1 / 2)


@pytest.mark.parametrize(
    ("named", "options"),
    [
        (lambda: GlobalContext(8, 1 / 2), dict(ratio=1 / 2)),
        (lambda: SimplifiedNonLocal(8), dict(transform="linear")),
        (lambda: SE(8, 1 / 2), dict(modelling="average", fusion="scale", layer_norm=False, ratio=1 / 2)),
        (lambda: NonLocal(8, mode="dot_product"), dict(modelling="pairwise", transform="linear", mode="dot_product")),
    ],
    ids=["GC", "SNL", "SE", "NL"],
)
def test_the_published_blocks_are_cells(named, options):
    one, other, x = randomise(named()), context_block(8, **options), torch.randn(2, 8, 5, 6)
    other.load_state_dict(one.state_dict())
    assert torch.equal(other(x), one(x))


def test_normalisation_does_not_move_the_names():
    names = [set(context_block(8, layer_norm=given).state_dict()) for given in (True, False)]
    assert names[0] - names[1] == {"channel_add_conv.1.weight", "channel_add_conv.1.bias"} and names[1] < names[0]


def test_a_function_can_make_the_transform():
    block = context_block(4, transform=lambda source, target: nn.Sequential(nn.Conv2d(source, target, 1, groups=2)))
    assert block.channel_add_conv[0].groups == 2 and torch.equal(block(x := torch.randn(1, 4, 3, 3)), x)


class Largest(TorchDispatchMode):
    """Sizes of the tensors that the operations inside make; views and things in place make none."""

    def __init__(self):
        super().__init__()
        self.made, self.reads = [], 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        before = {t.untyped_storage().data_ptr() for t in _tensors((args, kwargs))}
        out = func(*args, **(kwargs or {}))
        self.made += [t.numel() for t in _tensors(out) if t.untyped_storage().data_ptr() not in before]
        self.reads += self.watched in before and not func.is_view
        return out


def _tensors(tree):
    return [t for t in torch.utils._pytree.tree_leaves(tree) if isinstance(t, torch.Tensor)]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_pooling_reads_the_features_twice_and_makes_nothing_of_their_size(memory_format):
    block = randomise(GlobalContext(16, 1 / 4))
    x = torch.randn(2, 16, 12, 10).contiguous(memory_format=memory_format).requires_grad_()
    with Largest() as seen:
        seen.watched = x.untyped_storage().data_ptr()
        block.context(x)
    assert seen.reads == 2  # scores and sum
    assert max(seen.made) == 2 * 12 * 10  # the scores
    with Largest() as seen:
        seen.watched = x.untyped_storage().data_ptr()
        block(x)
    assert seen.reads == 3 and seen.made.count(x.numel()) == 1  # and the result


@pytest.mark.parametrize("mode", ["gaussian", "embedded_gaussian", "dot_product"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_no_matrix_of_all_pairs(mode, memory_format):
    block = randomise(NonLocal(8, mode=mode))
    x = torch.randn(1, 8, 12, 10).contiguous(memory_format=memory_format).requires_grad_()
    with Largest() as seen:
        seen.watched = 0
        block(x).sum().backward()
    assert max(seen.made) <= prod(x.shape) < 120 * 120
    assert block.attention_maps(x).shape == (1, 120, 120)


@pytest.mark.parametrize(
    "make",
    [
        *(partial(context_block, 8, modelling, fusion="both") for modelling in ("attention", "average", "pairwise")),
        *(partial(NonLocal, 8, mode=mode) for mode in ("gaussian", "dot_product", "concatenation")),
        partial(NonLocal, 8, sub_sample=True),
        partial(DisentangledNonLocal2d, 8),
        partial(GlobalContext, 8, dims=3),
    ],
)
def test_torch_fx_traces_for_every_size(make):
    block = randomise(make())
    graph = torch.fx.symbolic_trace(block)  # as torchvision's create_feature_extractor
    for n, *positions in ((2, 6, 5, 4), (3, 7, 8, 2)):
        x = torch.randn(n, 8, *positions[: block.dims])
        assert torch.equal(graph(x), block(x))
    with pytest.raises(ValueError, match="in_channels=8"):
        graph(torch.randn(1, 7, *positions[: block.dims]))


@pytest.mark.parametrize("modelling", ["attention", "average"])
def test_attention_map_gives_the_context(modelling):
    block, x = randomise(context_block(8, modelling)), torch.randn(2, 8, 5, 6)
    weights = block.attention_map(x)
    assert weights.shape == (2, 1, 5, 6)
    torch.testing.assert_close((x * weights).sum((2, 3), keepdim=True), block.context(x))


@pytest.mark.parametrize("mode", ["gaussian", "embedded_gaussian", "dot_product", "concatenation"])
def test_attention_maps_give_the_context(mode):
    block, x = randomise(NonLocal(8, mode=mode)).double(), torch.randn(2, 8, 5, 6).double()
    gathered = block.attention_maps(x) @ block.g(x).flatten(2).transpose(1, 2)
    torch.testing.assert_close(gathered.transpose(1, 2).reshape(2, 4, 5, 6), block.context(x))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(modelling="max"), "'max'.*attention, average, pairwise"),
        (dict(transform="mlp"), "'mlp'.*linear, bottleneck"),
        (dict(fusion="mul"), "'mul'.*add, scale, both"),
        (dict(dims=4), "dims.*4.*1, 2, 3"),
        (dict(transform="linear", ratio=1 / 4), "ratio=0.25.*bottleneck"),
        (dict(transform="linear", layer_norm=True), "layer_norm=True"),
        (dict(modelling="pairwise", transform="linear", ratio=1 / 4), "ratio=0.25.*bottleneck"),
        (dict(ratio=1 / 100), "at least 1/8"),
        (dict(ratio="1/4"), "'1/4'.*at least 1/8"),
        (dict(ratio=float("nan")), "nan.*at least"),
        (dict(ratio=float("inf")), "inf of 8 channels"),
        (dict(in_channels=0), "in_channels: received 0"),
        (dict(in_channels=8.0), "in_channels: received 8.0"),
        (dict(modelling="pairwise", reduction=0), "reduction: received 0"),
        (dict(modelling="pairwise", mode="gaussian", use_scale=True), "use_scale.*mode='gaussian'"),
        (dict(mode="gaussian"), "mode: only modelling='pairwise'"),
        (dict(modelling="pairwise", mode="cosine"), "'cosine'.*gaussian"),
    ],
)
def test_wrong_options(options, words):
    with pytest.raises(ValueError, match=words):
        context_block(**{"in_channels": 8, **options})


def test_wrong_number_of_axes():
    with pytest.raises(ValueError, match=r"\(2, 8, 5\); with dims=2 they have 4 axes"):
        context_block(8)(torch.randn(2, 8, 5))
    with pytest.raises(ValueError, match=r"\(2, 6, 5, 5\).*in_channels=8"):
        context_block(8)(torch.randn(2, 6, 5, 5))
