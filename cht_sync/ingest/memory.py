"""Memory that is free goes back to the operating system instead of being kept for later.

glibc's allocator keeps what many threads have freed, each in an arena of its own, and after one
large block it keeps blocks of that size too. Elsewhere these functions do nothing.
"""

from __future__ import annotations

import ctypes

# mallopt(3)
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
M_ARENA_MAX = -8

ARENAS = 2
OF_ITS_OWN = 128 * 1024
"""Bytes from which a block is asked of the system and given back when it is freed: glibc's default,
which it raises by itself unless it is set."""


def keep_little() -> None:
    """To be called once, before threads start."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, ARENAS)
        mallopt(M_MMAP_THRESHOLD, OF_ITS_OWN)
        mallopt(M_TRIM_THRESHOLD, OF_ITS_OWN)


def give_back() -> None:
    """Give back what is free now."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
