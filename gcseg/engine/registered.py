"""Importing this module registers what configs can name: loops, optimizer wrapper, model wrapper."""

from gcseg.engine.loops import TestLoop, ValLoop
from gcseg.engine.model_wrapper import MMDistributedDataParallel
from gcseg.engine.optim_wrapper import AmpOptimWrapper

__all__ = ["AmpOptimWrapper", "MMDistributedDataParallel", "TestLoop", "ValLoop"]
