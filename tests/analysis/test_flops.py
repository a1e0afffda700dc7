import pytest
import torch
from torch import nn

from gcseg.analysis import config_text, count_complexity, measure_complexity
from gcseg.config import load_config
from gcseg.utils import ConfigError

NAME = "gcnet_r50-d8_4xb2-40k_cityscapes-512x1024"


@pytest.fixture(scope="module")
def cost():
    return count_complexity(NAME)


def test_published_figures_of_the_r50_recipe(cost):
    assert cost.shape == (512, 1024)
    assert cost.total_flops / 1e9 == pytest.approx(790, abs=1)
    assert {k: round(v / 1e6, 2) for k, v in cost.params.items()} == {
        "backbone": 23.53,
        "decode_head": 23.74,
        "auxiliary_head": 2.36,
    }
    assert cost.total_params / 1e6 == pytest.approx(49.63, abs=0.005)
    assert "790.4" in str(cost) and "49.63" in str(cost)


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Conv2d(3, 4, 3, padding=1)
        self.decode_head = nn.Conv2d(4, 2, 1)

    def forward(self, x, mode):
        assert mode == "tensor"
        return self.decode_head(self.backbone(x))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_two_operations_per_multiply_add_counted_by_hand(device):
    model = Toy().to(device)
    cost = measure_complexity(model, (5, 7))
    assert cost.flops == {"backbone": 2 * 35 * 4 * 3 * 9, "decode_head": 2 * 35 * 2 * 4}
    assert cost.params == {"backbone": 4 * 3 * 9 + 4, "decode_head": 2 * 4 + 2}
    assert model.training


def test_shapes(cost):
    small = count_complexity(NAME, [64], {"model.auxiliary_head": None})
    assert small.shape == (64, 64)
    assert small.total_flops * 128 == pytest.approx(cost.total_flops, rel=0.01)
    assert "auxiliary_head" not in small.params
    with pytest.raises(ConfigError, match="height and width"):
        count_complexity(NAME, [1, 2, 3])


def test_config_text_is_a_config(tmp_path):
    text = config_text(NAME, {"optim_wrapper.optimizer.lr": 0.125}, tmp_path / "sub" / "full.py")
    assert "lr=0.125" in text
    assert load_config(tmp_path / "sub" / "full.py").optim_wrapper.optimizer.lr == 0.125
    assert "gc_block" in config_text(NAME, {"model.backbone.depth": 50}, graph=True)
    assert torch.is_grad_enabled()
    with pytest.raises(ConfigError, match="full.txt.*.py, .json"):
        config_text(NAME, save_path=tmp_path / "full.txt")
    (tmp_path / "mine.py").write_text("a = 1  # a word of mine\n")
    with pytest.raises(ConfigError, match=r"mine\.py: is the config itself"):
        config_text(tmp_path / "mine.py", save_path=tmp_path / "sub" / ".." / "mine.py")
    with pytest.raises(ConfigError, match=r"x\.py: cannot be written"):
        config_text(NAME, save_path=tmp_path / "mine.py" / "x.py")
