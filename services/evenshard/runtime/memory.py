"""How this process's allocator treats large buffers, set once at start."""

import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
KEPT_BUFFER_BYTES: Final = 32 << 20
"""Buffers up to this size are taken from memory the process has already; more is glibc's limit."""
KEPT_FREE_BYTES: Final = 256 << 20
"""Free memory at the end of the heap that is not given back."""


def keep_buffers() -> None:
    """Messages of a few MiB are allocated and freed all the time. By default glibc maps and unmaps each, and the
    kernel zeroes its pages anew: a tenth of an import's time. Elsewhere than on glibc nothing changes."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, KEPT_BUFFER_BYTES)
    mallopt(_M_TRIM_THRESHOLD, KEPT_FREE_BYTES)
