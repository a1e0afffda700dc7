"""Importing this module registers what configs can name: loops, optimizer wrapper, model wrappers."""

from gcseg.engine.loops import TestLoop, ValLoop
from gcseg.engine.model_wrapper import MMDistributedDataParallel
from gcseg.engine.optim_wrapper import AmpOptimWrapper
from gcseg.engine.sharded import FSDP2

__all__ = ["FSDP2", "AmpOptimWrapper", "MMDistributedDataParallel", "TestLoop", "ValLoop"]
