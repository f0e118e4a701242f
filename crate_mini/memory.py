"""Memory of the C library: large tensors that are freed and asked for again, thousands of times in a training."""

from __future__ import annotations

import ctypes
import functools
import platform

# <malloc.h> of glibc
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_MEBIBYTE = 2**20


@functools.cache
def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, for what it asks for next.

    By default glibc hands every large block back to the system and gets it again page by page, each page cleared: in
    a training step on a CPU a tenth of the time and more. Holds until the process ends, which then occupies what it
    once needed at its peak.

    Returns:
        Whether it could be done: with glibc; elsewhere nothing is changed.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # older releases take no threshold above 32 MiB
    served = any(mallopt(_M_MMAP_THRESHOLD, size * _MEBIBYTE) for size in (1024, 32))
    return bool(served and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1) and mallopt(_M_TOP_PAD, 64 * _MEBIBYTE))
