import math

import pytest
import torch

from gcseg.analysis import cosine_distance, jensen_shannon, mean_cosine_distance, mean_jensen_shannon

LN2 = math.log(2)


def random_maps(count=12, size=9, seed=0):
    scores = 2 * torch.randn(count, size, generator=torch.Generator().manual_seed(seed))
    return scores.softmax(-1)


def test_the_ends_of_both_scales():
    same, other = torch.tensor([1.0, 0, 0]), torch.tensor([0, 1.0, 0])
    assert cosine_distance(same, 3 * same) == jensen_shannon(same, same) == 0
    assert cosine_distance(same, other) == 0.5
    assert cosine_distance(same, -same) == 1
    assert jensen_shannon(same, other).item() == pytest.approx(LN2, abs=1e-15)


def test_jensen_shannon_is_the_definition_of_the_paper():
    p, q = random_maps(2).double()
    spelt = sum(
        0.5 * a * math.log(2 * a / (a + b)) + 0.5 * b * math.log(2 * b / (a + b)) for a, b in zip(p, q, strict=True)
    )
    assert jensen_shannon(p, q).item() == pytest.approx(float(spelt), abs=1e-14)


@pytest.mark.parametrize("count", [1, 7])
def test_identical_maps_are_at_distance_zero(count):
    maps = random_maps(1).expand(count, -1)
    assert mean_cosine_distance(maps) == pytest.approx(0, abs=1e-15)
    assert mean_jensen_shannon(maps) == (pytest.approx(0, abs=1e-15), 0)


def test_maps_without_a_position_in_common():
    """L of the L * L pairs are a map with itself."""
    maps = torch.eye(8)
    assert mean_cosine_distance(maps) == pytest.approx(7 / 8 / 2, abs=1e-15)
    assert mean_jensen_shannon(maps) == (pytest.approx(7 / 8 * LN2, abs=1e-14), 0)


def test_the_means_are_those_of_the_double_loop():
    maps = random_maps()
    pairs = [(p, q) for p in maps for q in maps]
    cosine = sum(cosine_distance(p, q).item() for p, q in pairs) / len(pairs)
    shannon = sum(jensen_shannon(p, q).item() for p, q in pairs) / len(pairs)
    assert mean_cosine_distance(maps) == pytest.approx(cosine, abs=1e-14)
    assert mean_jensen_shannon(maps)[0] == pytest.approx(shannon, abs=1e-14)


def test_features_of_any_sign_and_many_rows():
    features = torch.randn(1500, 3, generator=torch.Generator().manual_seed(1)) + torch.tensor([1.0, 0, 0])
    units = torch.nn.functional.normalize(features.double(), dim=-1)
    assert mean_cosine_distance(features) == pytest.approx(((1 - units @ units.T) / 2).mean().item(), abs=1e-12)


def test_the_order_of_queries_and_of_positions_is_of_no_influence():
    maps = random_maps()
    generator = torch.Generator().manual_seed(2)
    shuffled = maps[torch.randperm(12, generator=generator)][:, torch.randperm(9, generator=generator)]
    assert mean_cosine_distance(shuffled) == pytest.approx(mean_cosine_distance(maps), abs=1e-14)
    assert mean_jensen_shannon(shuffled)[0] == pytest.approx(mean_jensen_shannon(maps)[0], abs=1e-14)


def test_the_drawn_pairs_agree_with_all_pairs_within_their_error():
    maps = random_maps(60, 40)
    exact, none = mean_jensen_shannon(maps, pairs=3600)
    drawn = [mean_jensen_shannon(maps, pairs=500, seed=seed) for seed in range(40)]
    scores = [(mean - exact) / error for mean, error in drawn]
    assert none == 0 and all(0 < error < 0.1 * exact for _, error in drawn)
    assert abs(sum(scores)) / 40**0.5 < 3, "unbiased"
    assert 0.6 < (sum(s * s for s in scores) / 40) ** 0.5 < 1.5, "the error says how far the means scatter"
    assert mean_jensen_shannon(maps, pairs=500) == drawn[0] != drawn[1], "the seed decides"


def test_what_has_no_distance():
    assert math.isnan(mean_cosine_distance(torch.tensor([[0.0, 0], [1, 0]])))
    assert all(map(math.isnan, mean_jensen_shannon(torch.tensor([[2.0, -1], [0.5, 0.5]]))))
    assert all(map(math.isnan, mean_jensen_shannon(torch.tensor([[0.3, 0.3], [0.5, 0.5]]))))
