"""How the process gets its memory from the operating system."""

from __future__ import annotations

import ctypes
import os
import sys

import torch

# Names in glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_INT = 2**31 - 1
# What tells that somebody else has settled the matter: the settings of glibc, or another allocator.
_CHOSEN_BY = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")


def keep_freed_memory() -> bool:
    """Let the process keep the memory of freed tensors for the next ones, in huge pages where the system has them.

    glibc returns every freed block of some megabytes to the system, and each new one is cleared page by page: in a
    training step on a CPU, which makes and drops gigabytes of activations, that is a tenth to a fifth of the time. All
    steps make the same sizes, so that what is kept fits the next step. The setting is the process's own, so only the
    training command makes it. It is left alone where the environment already has a setting of glibc's
    (``MALLOC_TRIM_THRESHOLD_``, ``MALLOC_MMAP_THRESHOLD_``, ``GLIBC_TUNABLES``) or loads another allocator
    (``LD_PRELOAD``), and with a GPU, where activations are elsewhere. ``THP_MEM_ALLOC_ENABLE=0`` switches the huge
    pages off; see madvise(2), MADV_HUGEPAGE.

    Returns:
        Whether it was done.
    """
    if not sys.platform.startswith("linux") or torch.cuda.is_available() or any(map(os.environ.get, _CHOSEN_BY)):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc only
    if mallopt is None:
        return False
    # Before the threshold for returning: setting either ends glibc's own adaptation of both.
    if not mallopt(_M_MMAP_THRESHOLD, _LARGEST_INT):
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the most that older versions take
    mallopt(_M_TRIM_THRESHOLD, _LARGEST_INT)
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch reads it when it first needs memory
    return True
