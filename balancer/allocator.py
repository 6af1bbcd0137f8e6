"""Have the C library keep freed memory at hand, so that large payloads do not fault it in anew.

By default glibc soon gives a large freed block back to the kernel, and every page of the next one
has to be mapped and zeroed again: for payloads of 1 MB that was a fifth of all processor time.
Where there is no mallopt (macOS, musl), nothing is changed.
"""

import ctypes
import os

KEPT_BYTES_MAX = 32 * 1024 * 1024
"""So much may stay unused at the end of the heap before it is given back."""
MAPPED_BYTES_MIN = 32 * 1024 * 1024
"""So large a block is mapped for itself, and given back as soon as it is freed."""

# What they do is in mallopt(3), their numbers are in malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def keep_freed_memory() -> None:
    """Nothing is changed for those who have set the allocator's variables in the environment."""
    is_set = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or is_set:
        return
    mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES_MAX)
    mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES_MIN)
