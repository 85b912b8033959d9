"""Memory of a training on a CPU."""

import ctypes
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""numbers of glibc's malloc.h"""
_KEPT_BYTES = 2**30


def keep_freed_memory() -> bool:
    """Have the C library of this process keep memory that tensors free, for the next ones.

    The activations of one layer are some 16 MB. glibc gives memory of that size back to the system
    when it is freed, and the system clears every page of it before it gives it out again, which is
    up to a tenth of a step.

    Returns:
        Whether the library could be told; only glibc can.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        options = (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD)
        return all([mallopt(option, _KEPT_BYTES) for option in options])
    return False
