"""Samplers whose stream of samples is known at every place without what came before it.

A sample's place in the stream goes with its index to the worker that loads it, where it decides on the augmentation
(:mod:`gcseg.engine.stream`). A run that resumes begins at the place where it was, at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sized

import numpy as np
import torch
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from gcseg.registry import DATA_SAMPLERS


class StreamIndex(int):
    """An index of a data set that knows its place in the stream of samples.

    Attributes:
        position: number of samples before it, over all processes.
    """

    position: int

    def __new__(cls, index: int, position: int) -> StreamIndex:  # noqa: D102
        self = super().__new__(cls, index)
        self.position = position
        return self

    def __reduce__(self) -> tuple:
        return StreamIndex, (int(self), self.position)


class _StreamSampler(Sampler):
    """Cuts one stream, the same on all processes, into shares: every process takes each ``world_size``-th sample.

    Args:
        dataset: what is sampled from.
        shuffle: another order in every epoch, a function of ``seed`` and the number of the epoch.
        seed: of the order, the same on all processes; None draws one.
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int | None = None) -> None:
        self.rank, self.world_size = get_dist_info()
        self.dataset = dataset
        self.size = len(dataset)
        self.shuffle = shuffle
        self.seed = int(sync_random_seed()) if seed is None else seed
        self._start = 0

    def start_at(self, position: int) -> None:
        """Let the next iteration begin behind ``position`` samples, counted over all processes."""
        self._start = position

    def order(self, epoch: int) -> torch.Tensor:
        """The order of an epoch, (size,) int64. That of the first is mmengine's."""
        if not self.shuffle:
            return torch.arange(self.size)
        seed = self.seed if epoch == 0 else int(np.random.SeedSequence([self.seed, epoch]).generate_state(1)[0])
        return torch.randperm(self.size, generator=torch.Generator().manual_seed(seed))


@DATA_SAMPLERS.register_module()
class InfiniteSampler(_StreamSampler):
    """mmengine's sampler of this name: epoch after epoch without end, for training by iterations.

    Args:
        dataset: what is sampled from.
        shuffle: another order in every epoch.
        seed: of the order; None draws one.
    """

    def __iter__(self) -> Iterator[StreamIndex]:
        position, current = self._start + self.rank, -1
        while True:
            epoch, place = divmod(position, self.size)
            if epoch != current:
                order, current = self.order(epoch), epoch
            yield StreamIndex(int(order[place]), position)
            position += self.world_size

    def __len__(self) -> int:
        return self.size

    def set_epoch(self, epoch: int) -> None:
        """The stream has no epochs that a loop would count."""


@DATA_SAMPLERS.register_module()
class DefaultSampler(_StreamSampler):
    """mmengine's sampler of this name: one epoch, shared among the processes.

    Args:
        dataset: what is sampled from.
        shuffle: another order in every epoch.
        seed: of the order; None draws one.
        round_up: fill the last round by samples from the beginning, so that all processes get as many. None does so
            when shuffling, as training needs it; an evaluation counts every sample once.
    """

    def __init__(
        self, dataset: Sized, shuffle: bool = True, seed: int | None = None, round_up: bool | None = None
    ) -> None:
        super().__init__(dataset, shuffle, seed)
        self.round_up = shuffle if round_up is None else round_up
        self.epoch = 0
        rounds = -(-self.size // self.world_size)
        self.total_size = rounds * self.world_size if self.round_up else self.size
        self.num_samples = len(range(self.rank, self.total_size, self.world_size))

    def __iter__(self) -> Iterator[StreamIndex]:
        order, before = self.order(self.epoch), self.epoch * self.total_size
        first, self._start = self._start, 0
        for place in range(first + self.rank, self.total_size, self.world_size):
            yield StreamIndex(int(order[place % self.size]), before + place)

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Number of the epoch that the next iteration goes over."""
        self.epoch = epoch
