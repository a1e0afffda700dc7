"""Importing this module registers what configs can name: loops, optimizer wrapper, model wrappers."""

from gcseg.engine.loops import TestLoop, ValLoop
from gcseg.engine.model_wrapper import MMDistributedDataParallel
from gcseg.engine.optim_wrapper import AmpOptimWrapper, OptimWrapper
from gcseg.engine.pretrained_init import PretrainedInit
from gcseg.engine.samplers import DefaultSampler, InfiniteSampler
from gcseg.engine.sharded import FSDP2
from gcseg.engine.train_loops import EpochBasedTrainLoop, IterBasedTrainLoop

__all__ = [
    "FSDP2",
    "AmpOptimWrapper",
    "DefaultSampler",
    "EpochBasedTrainLoop",
    "InfiniteSampler",
    "IterBasedTrainLoop",
    "MMDistributedDataParallel",
    "OptimWrapper",
    "PretrainedInit",
    "TestLoop",
    "ValLoop",
]
