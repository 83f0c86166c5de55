"""The C library's heap, told to keep what a training step frees: the next step asks for the same."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's <malloc.h>
_NEVER_TRIM, _LARGEST_ON_HEAP = 2**31 - 1, 2**30


def keep_freed_memory() -> bool:
    """Let tensors of up to 1 GiB reuse memory that earlier ones have freed. Returns whether this system can.

    glibc maps every block of more than 32 MiB anew and gives it back to the system when it is freed, so that a tensor
    of 16 x 32 channels at 128 px costs 8,000 page faults, many times what it takes to fill it. What the process takes
    from the system stays with it until it ends. Only for Linux with glibc; without effect on GPUs, whose memory torch
    keeps itself.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, _NEVER_TRIM)) and bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST_ON_HEAP))
