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
OF_ITS_OWN = 512 * 1024
"""Bytes from which a block is asked of the system and given back when it is freed; unless it is set,
glibc raises it by itself with every large block that is freed. More than one read from a socket."""
KEPT = 2 * 1024 * 1024
"""Free bytes that may stay at the end of the heap."""


def keep_little() -> None:
    """To be called once, before threads start."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, ARENAS)
        mallopt(M_MMAP_THRESHOLD, OF_ITS_OWN)
        mallopt(M_TRIM_THRESHOLD, KEPT)


def give_back() -> None:
    """Give back what is free now."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
