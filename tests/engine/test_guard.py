import pytest
import torch
from several_processes import run_ranks
from torch import nn

from gcseg.engine.guard import Vote
from gcseg.engine.optim_wrapper import AmpOptimWrapper, OptimWrapper


def wrapper(kind=OptimWrapper, **options):
    layer = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    return layer, kind(optimizer=optimizer, **options)


def update(layer, wrap, factor=1.0):
    wrap.update_params((layer(torch.ones(1, 2)) * factor).sum())


@pytest.mark.parametrize("kind", [OptimWrapper, lambda **k: AmpOptimWrapper(dtype="float32", **k)])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_not_finite_changes_nothing(kind, bad):
    layer, wrap = wrapper(kind)
    update(layer, wrap)
    assert not wrap.non_finite
    weights = [p.detach().clone() for p in layer.parameters()]
    momentum = [s["momentum_buffer"].clone() for s in wrap.optimizer.state.values()]
    update(layer, wrap, bad)
    assert wrap.non_finite
    assert all(torch.equal(a, b) for a, b in zip(layer.parameters(), weights, strict=True))
    assert all(
        torch.equal(s["momentum_buffer"], m) for s, m in zip(wrap.optimizer.state.values(), momentum, strict=True)
    )
    update(layer, wrap)  # the spoilt gradients are gone
    assert not wrap.non_finite
    assert all(p.isfinite().all() for p in layer.parameters())
    assert not torch.equal(layer.weight, weights[0])


def test_a_group_of_accumulated_gradients_is_dropped_together():
    layer, wrap = wrapper(accumulative_counts=2)
    wrap.initialize_count_status(layer, 0, 6)
    weight = layer.weight.detach().clone()
    update(layer, wrap, float("nan"))
    assert wrap.non_finite
    update(layer, wrap)
    assert not wrap.non_finite
    assert torch.equal(layer.weight, weight)
    update(layer, wrap)
    update(layer, wrap)
    assert not torch.equal(layer.weight, weight)
    assert layer.weight.isfinite().all()


def test_the_wish_to_stop_is_told_back():
    layer, wrap = wrapper()
    wrap.stop_wanted = True
    update(layer, wrap)
    assert wrap.stop_agreed
    assert not wrap.non_finite


def test_one_answer_per_question():
    device = torch.device("cpu")
    assert Vote(torch.tensor(False), True, torch.tensor([True]), device=device).result() == [False, True, True]


def rank_votes(rank):
    votes = Vote(torch.tensor(rank == 1), False, rank == 0, device=torch.device("cpu")).result()
    layer, wrap = wrapper()
    wrap.stop_wanted = rank == 0
    before = layer.weight.detach().clone()
    update(layer, wrap, float("nan") if rank == 1 else 1.0)
    return votes, wrap.non_finite, wrap.stop_agreed, torch.equal(layer.weight, before)


def test_what_one_process_says_all_hear():
    assert run_ranks(rank_votes, 2) == [([True, False, True], True, True, True)] * 2
