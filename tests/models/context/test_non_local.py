import pytest
import torch
from model_contract import ModelContract
from torch import nn

from gcseg.models.context import DisentangledNonLocal2d, NonLocal


def pixels(t):
    return t.flatten(2).transpose(1, 2)


class TestEmbeddedGaussian(ModelContract):
    channels = 8
    sizes = [(9, 5), (7, 4)]
    mode = "embedded_gaussian"
    without_effect = ("phi.conv.bias",)

    def make(self):
        return NonLocal(8, mode=self.mode)

    def images(self, n=2, h=9, w=7):
        return super().images(n, h, w)

    def shapes(self, n, h, w):
        return [(n, 8, h, w)]

    def scores(self, block, query, key):
        """Affinity of one pair of positions before the softmax or the division."""
        return query @ key / 4**0.5

    def test_formula(self):
        block, x = self.model().double(), self.images(1, 3, 2).double()
        query = pixels(block.theta(x))[0] if block.theta is not None else pixels(x)[0]
        key = pixels(block.phi(x))[0] if block.phi is not None else pixels(x)[0]
        value = pixels(block.g(x))[0]
        pairs = torch.stack([torch.stack([self.scores(block, q, k) for k in key]) for q in query])
        softmaxed = self.mode in ("gaussian", "embedded_gaussian")
        affinity = pairs.softmax(1) if softmaxed else pairs / len(key)
        gathered = (affinity @ value).T.reshape(1, 4, 3, 2)
        torch.testing.assert_close(block(x), x + block.conv_out(gathered))


class TestGaussian(TestEmbeddedGaussian):
    mode = "gaussian"
    without_effect = ()

    def scores(self, block, query, key):
        return query @ key


class TestDotProduct(TestEmbeddedGaussian):
    mode = "dot_product"
    without_effect = ()

    def scores(self, block, query, key):
        return query @ key


class TestConcatenation(TestEmbeddedGaussian):
    mode = "concatenation"
    without_effect = ()

    def scores(self, block, query, key):
        return (block.concat_project.conv.weight.flatten() @ torch.cat([query, key])).relu()


class TestSubSampled(ModelContract):
    channels = 8
    sizes = [(9, 5), (7, 4)]
    without_effect = ("phi.0.conv.bias", "g.0.conv.bias")  # the normalisation takes a constant away

    def make(self):
        return NonLocal(8, sub_sample=True, norm_layer=nn.BatchNorm2d)

    def images(self, n=2, h=9, w=7):
        return super().images(n, h, w)

    def shapes(self, n, h, w):
        return [(n, 8, h, w)]

    def test_one_pixel(self):
        with pytest.raises(ValueError, match=r"\(1, 1\).*sub_sample=False"):
            self.model()(self.images(1, 1, 1))

    def test_keys_are_a_quarter(self):
        block = self.model().eval()
        maps = block.attention_maps(self.images(2, 8, 6))
        assert maps.shape == (2, 48, 12)
        torch.testing.assert_close(maps.sum(-1), torch.ones(2, 48))

    def test_names(self):
        assert list(self.make().state_dict())[:4] == [
            "g.0.conv.weight",
            "g.0.conv.bias",
            "conv_out.conv.weight",
            "conv_out.bn.weight",
        ]


class TestDisentangled(ModelContract):
    channels = 8
    sizes = [(9, 5), (7, 4)]
    without_effect = ("theta.conv.bias", "phi.conv.bias", "conv_mask.bias")

    def make(self):
        return DisentangledNonLocal2d(8, temperature=0.5)

    def images(self, n=2, h=9, w=7):
        return super().images(n, h, w)

    def shapes(self, n, h, w):
        return [(n, 8, h, w)]

    def test_formula(self):
        block, x = self.model().double(), self.images(1, 3, 2).double()
        query, key, value = (pixels(layer(x))[0] for layer in (block.theta, block.phi, block.g))
        query, key = query - query.mean(0), key - key.mean(0)
        pairwise = (query @ key.T / 2 / 0.5).softmax(1) @ value
        unary = block.conv_mask(x).flatten().softmax(0) @ value
        gathered = (pairwise + unary).T.reshape(1, 4, 3, 2)
        torch.testing.assert_close(block(x), x + block.conv_out(gathered))


def test_temperature_sharpens():
    cold, warm = (DisentangledNonLocal2d(8, temperature=t) for t in (0.01, 10.0))
    query, key = torch.randn(1, 6, 4), torch.randn(1, 4, 6)
    assert cold.affinity(query, key).max(-1).values.min() > warm.affinity(query, key).max(-1).values.max()


def test_scale_is_optional():
    query, key = torch.randn(1, 6, 4), torch.randn(1, 4, 6)
    scaled, plain = (NonLocal(8, use_scale=u).affinity(query, key) for u in (True, False))
    torch.testing.assert_close(scaled, (query @ key / 2).softmax(-1))
    torch.testing.assert_close(plain, (query @ key).softmax(-1))


@pytest.mark.parametrize("norm_layer", [None, nn.BatchNorm2d])
def test_a_new_block_is_the_identity_unless_told_otherwise(norm_layer):
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(NonLocal(8, norm_layer=norm_layer)(x), x)
    assert not torch.allclose(NonLocal(8, norm_layer=norm_layer, zeros_init=False)(x), x, atol=1e-6)


@pytest.mark.parametrize("size", [5.0, 0.1])
def test_half_precision_holds_the_sum_over_many_positions(size):
    """The mean of 10,000 products of keys and values of 5 is 25, their sum no number of float16."""
    block = NonLocal(8, mode="dot_product")
    x = (1 + 0.1 * torch.randn(1, 8, 100, 100)) * size
    value = (1 + 0.1 * torch.randn(1, 10_000, 4)) * size
    for part in (block.theta.conv, block.phi.conv):
        nn.init.constant_(part.weight, 1 / 8)
    expected = block.double()._gather(x.double(), value.double())
    found = block.half()._gather(x.half(), value.half())
    torch.testing.assert_close(found.double(), expected, rtol=5e-3, atol=0)


def test_wrong_options():
    with pytest.raises(ValueError, match="'softmax'.*embedded_gaussian"):
        NonLocal(8, mode="softmax")
    with pytest.raises(ValueError, match="0.05"):
        DisentangledNonLocal2d(8, temperature=0)
