import copy
import itertools
import pickle

import pytest
import torch
from mmengine.dataset import sampler as mmengine_sampler

from gcseg.engine import samplers
from gcseg.engine.samplers import DefaultSampler, InfiniteSampler, StreamIndex

DATA = list(range(7))


@pytest.fixture
def processes(monkeypatch):
    def make(kind, world_size, **kwargs):
        made = []
        for rank in range(world_size):
            monkeypatch.setattr(samplers, "get_dist_info", lambda rank=rank: (rank, world_size))
            made.append(kind(DATA, seed=3, **kwargs))
        return made

    return make


def take(sampler, count):
    return [(int(i), i.position) for i in itertools.islice(sampler, count)]


def test_a_place_travels_with_its_index():
    index = StreamIndex(5, position=40)
    assert DATA[index - 1] == 4
    for other in (pickle.loads(pickle.dumps(index)), copy.deepcopy(index)):
        assert (other, other.position) == (5, 40)


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_infinite_stream_is_one_whatever_the_number_of_processes(processes, world_size):
    (alone,) = processes(InfiniteSampler, 1)
    whole = take(alone, 36)
    assert [p for _, p in whole] == list(range(36))
    for start in range(0, 35, 7):
        assert sorted(i for i, _ in whole[start : start + 7]) == DATA
    assert whole[:7] != [(i, p) for (i, _), (_, p) in zip(whole[7:14], whole[:7], strict=True)]  # shuffled anew
    shares = [take(s, 36 // world_size) for s in processes(InfiniteSampler, world_size)]
    assert [sample for round_ in zip(*shares, strict=True) for sample in round_] == whole


def test_the_first_epoch_is_mmengines():
    theirs = mmengine_sampler.InfiniteSampler(DATA, seed=11)
    assert [i for i, _ in take(InfiniteSampler(DATA, seed=11), 7)] == list(itertools.islice(theirs, 7))
    theirs = mmengine_sampler.DefaultSampler(DATA, seed=11)
    assert [i for i, _ in take(DefaultSampler(DATA, seed=11), 7)] == list(theirs)


@pytest.mark.parametrize("place", [0, 1, 6, 7, 8, 20, 10**9])
def test_a_stream_begins_anywhere_at_once(processes, place):
    (sampler,) = processes(InfiniteSampler, 1)
    expected = take(sampler, place + 9)[place:] if place < 100 else None
    sampler.start_at(place)
    found = take(sampler, 9)
    assert [p for _, p in found] == list(range(place, place + 9))
    assert expected is None or found == expected


def test_another_seed_is_another_stream():
    assert take(InfiniteSampler(DATA, seed=1), 14) != take(InfiniteSampler(DATA, seed=2), 14)
    drawn = InfiniteSampler(DATA)
    assert take(drawn, 14) == take(InfiniteSampler(DATA, seed=drawn.seed), 14)


@pytest.mark.parametrize("world_size", [1, 2, 3, 5, 9])
def test_an_evaluation_counts_every_sample_once(processes, world_size):
    shares = [list(s) for s in processes(DefaultSampler, world_size, shuffle=False)]
    assert sorted(itertools.chain(*shares)) == DATA
    assert [len(s) for s in processes(DefaultSampler, world_size, shuffle=False)] == list(map(len, shares))


def test_training_gives_each_process_as_many(processes):
    shares = [list(s) for s in processes(DefaultSampler, 3)]
    assert {len(share) for share in shares} == {3}
    assert set(itertools.chain(*shares)) == set(DATA)
    kept = [list(s) for s in processes(DefaultSampler, 3, round_up=False)]
    assert sorted(itertools.chain(*kept)) == DATA


def test_epochs_differ_and_begin_anywhere(processes):
    (sampler,) = processes(DefaultSampler, 1)
    first = take(sampler, 7)
    sampler.set_epoch(1)
    second = take(sampler, 7)
    assert [p for _, p in second] == list(range(7, 14))
    assert [i for i, _ in second] != [i for i, _ in first]
    sampler.start_at(4)
    assert take(sampler, 7) == second[4:]
    assert take(sampler, 7) == second  # the start was for one iteration


def test_without_shuffling_the_order_is_the_data_sets():
    assert torch.equal(InfiniteSampler(DATA, shuffle=False, seed=0).order(3), torch.arange(7))
