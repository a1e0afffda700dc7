import copy
import pickle
import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from gcseg.engine.samplers import InfiniteSampler, StreamIndex
from gcseg.engine.stream import StreamDataset, generators_seeded


class Noise:
    metainfo = {"classes": ("a",)}

    def __len__(self):
        return 5

    def __getitem__(self, index):
        assert type(index) is int
        return torch.tensor([index, random.random(), np.random.rand(), float(torch.rand(()))], dtype=torch.float64)


def test_a_sample_depends_on_seed_and_place_alone():
    data = StreamDataset(Noise(), seed=1)
    sample = data[StreamIndex(2, 40)]
    random.seed(9), np.random.seed(9), torch.manual_seed(9)
    assert torch.equal(data[StreamIndex(2, 40)], sample)
    assert (data[StreamIndex(2, 41)][1:] != sample[1:]).all()
    assert (StreamDataset(Noise(), seed=2)[StreamIndex(2, 40)][1:] != sample[1:]).all()


def test_the_generators_go_on_as_if_nothing_had_been_loaded():
    def draw():
        return random.random(), np.random.rand(), float(torch.rand(()))

    random.seed(9), np.random.seed(9), torch.manual_seed(9)
    expected = draw()
    random.seed(9), np.random.seed(9), torch.manual_seed(9)
    StreamDataset(Noise(), seed=1)[StreamIndex(2, 40)]
    with pytest.raises(KeyError), generators_seeded(1, 2):
        raise KeyError
    assert draw() == expected


def test_an_index_without_a_place_is_passed_on():
    np.random.seed(3)
    expected = np.random.rand()
    np.random.seed(3)
    assert StreamDataset(Noise(), seed=1)[4][2] == expected


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_workers_does_not_matter(workers):
    def batches(num_workers):
        data = StreamDataset(Noise(), seed=1)
        loader = DataLoader(data, batch_size=2, sampler=InfiniteSampler(data, seed=5), num_workers=num_workers)
        iterator = iter(loader)
        return torch.stack([next(iterator) for _ in range(6)])

    assert torch.equal(batches(workers), batches(0))


def test_it_stands_for_the_data_set():
    data = StreamDataset(Noise(), seed=1)
    assert len(data) == 5
    assert data.metainfo == Noise.metainfo
    with pytest.raises(AttributeError):
        data.absent  # noqa: B018
    for other in (copy.deepcopy(data), pickle.loads(pickle.dumps(data))):
        assert torch.equal(other[StreamIndex(1, 2)], data[StreamIndex(1, 2)])
