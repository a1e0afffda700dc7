"""What every block, backbone and head promises; a test class inherits it and says how to make one."""

import pytest
import torch
from torch import Tensor, nn


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Fill every parameter and running statistic: layers that start at zero would hide what stands before them."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if not tensor.is_floating_point():
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            if tensor.dim() > 1 and tensor.dim() != 3:
                tensor.copy_(noise * (2.0 / tensor[0].numel()) ** 0.5)
            elif name.endswith(("weight", "var")):
                tensor.copy_(1 + 0.3 * noise.clamp(-2, 2))
            else:
                tensor.copy_(0.3 * noise)
    return model


class ModelContract:
    """Inherit, and define :meth:`make`, ``channels`` and :meth:`shapes`."""

    channels = 3
    sizes = [(33, 47), (32, 64), (9, 5)]
    # Parameters whose gradient is zero for every input: a softmax does not change when all its scores are shifted.
    without_effect: tuple[str, ...] = ()

    def make(self) -> nn.Module:
        """A small model."""
        raise NotImplementedError

    def shapes(self, n: int, h: int, w: int) -> list[tuple[int, ...]]:
        """Shapes of the outputs for an input (n, channels, h, w)."""
        raise NotImplementedError

    def run(self, model: nn.Module, x: Tensor) -> list[Tensor]:
        out = model(x)
        return list(out) if isinstance(out, (tuple, list)) else [out]

    def model(self, seed: int = 0) -> nn.Module:
        return randomise(self.make(), seed)

    def images(self, n: int = 2, h: int = 33, w: int = 47) -> Tensor:
        return torch.randn(n, self.channels, h, w, generator=torch.Generator().manual_seed(5))

    def test_shapes_at_odd_sizes(self):
        model = self.model().eval()
        for h, w in self.sizes:
            outputs = self.run(model, self.images(2, h, w))
            assert [tuple(o.shape) for o in outputs] == self.shapes(2, h, w)
            assert all(o.isfinite().all() for o in outputs)

    def test_one_pixel(self):
        outputs = self.run(self.model().eval(), self.images(1, 1, 1))
        assert [tuple(o.shape) for o in outputs] == self.shapes(1, 1, 1)
        assert all(o.isfinite().all() for o in outputs)

    def test_images_of_a_batch_do_not_mix(self):
        model, x = self.model().double().eval(), self.images(3).double()
        for together, alone in zip(self.run(model, x), self.run(model, x[1:2]), strict=True):
            torch.testing.assert_close(together[1:2], alone)
            assert not torch.allclose(together[0], together[1])

    def test_input_is_left_alone(self):
        model, x = self.model().eval(), self.images()
        before = x.clone()
        self.run(model, x)
        assert torch.equal(x, before)

    @torch.no_grad()  # forward only: small models have the convolutions that lay_out_channels_last avoids
    def test_channels_last_gives_the_same(self):
        model, x = self.model().double().eval(), self.images().double()
        expected = self.run(model, x)
        actual = self.run(model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last))
        for a, e in zip(actual, expected, strict=True):
            torch.testing.assert_close(a, e, rtol=1e-9, atol=1e-9)

    def test_bf16_autocast_is_near_float32(self):
        model, x = self.model().eval(), self.images()
        expected = self.run(model, x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            actual = self.run(model, x)
        for a, e in zip(actual, expected, strict=True):
            assert a.isfinite().all()
            assert (a.float() - e).norm() < 0.1 * e.norm()

    def test_every_parameter_receives_a_gradient(self):
        model = self.model().double().train()
        outputs = self.run(model, self.images().double())
        sum((o * torch.randn_like(o)).sum() for o in outputs).backward()
        trained = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
        assert [name for name, grad in trained.items() if grad is None or not grad.isfinite().all()] == []
        largest = max(grad.abs().max() for grad in trained.values())
        idle = [n for n, g in trained.items() if not g.abs().max() > 1e-9 * largest]
        assert [name for name in idle if not name.endswith(self.without_effect)] == []

    def test_state_dict_round_trip(self, tmp_path):
        source, target = self.model(seed=0).eval(), self.model(seed=1).eval()
        x = self.images()
        assert not torch.allclose(self.run(source, x)[0], self.run(target, x)[0])
        torch.save(source.state_dict(), tmp_path / "weights.pth")
        target.load_state_dict(torch.load(tmp_path / "weights.pth", weights_only=True))
        for a, e in zip(self.run(target, x), self.run(source, x), strict=True):
            assert torch.equal(a, e)

    def test_gradient_flows_to_the_input(self):
        x = self.images().requires_grad_()
        self.run(self.model().eval(), x)[-1].square().mean().backward()
        assert x.grad.abs().sum() > 0

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
    def test_dtype_is_kept(self, dtype):
        assert all(o.dtype == dtype for o in self.run(self.model().to(dtype).eval(), self.images().to(dtype)))
