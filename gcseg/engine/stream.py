"""The augmentation of a sample is a function of the seed and of the sample's place in the stream.

Nothing else goes into it: not the number of workers, not the process, not what was loaded before. So a run that resumes
sees what it would have seen.
"""

# ruff: noqa: NPY002  (the transforms draw from the global numpy stream)

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from gcseg.engine.samplers import StreamIndex


@contextmanager
def generators_seeded(*entropy: int) -> Iterator[None]:
    """Seed the global generators of Python, NumPy and torch's CPU, and put them back afterwards.

    Args:
        *entropy: numbers from 0 on; each combination gives streams of its own.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    words = np.random.SeedSequence(entropy).generate_state(8)
    random.seed(words[:4].tobytes())
    np.random.seed(words[4:])
    # Not torch.manual_seed, which would seed the GPUs as well, and those are not to be touched in a worker.
    torch.default_generator.manual_seed(int(words[0]) << 32 | int(words[4]))
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


class StreamDataset(Dataset):
    """A data set whose random transforms depend on the place that comes with the index.

    An index without a place, from a sampler of the user's own, is passed on as it is.

    Args:
        dataset: any data set; its attributes (``metainfo``, ...) can be read from this one.
        seed: of the run.
    """

    def __init__(self, dataset: Any, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed

    def __getitem__(self, index: int) -> Any:
        if not isinstance(index, StreamIndex):
            return self.dataset[index]
        with generators_seeded(self.seed, index.position):
            return self.dataset[int(index)]

    def __len__(self) -> int:
        return len(self.dataset)

    def __getattr__(self, name: str) -> Any:
        if name == "dataset" or name.startswith("__"):  # not there yet while it is unpickled or copied
            raise AttributeError(name)
        return getattr(self.dataset, name)
