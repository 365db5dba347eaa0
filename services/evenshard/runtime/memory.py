"""How this process's allocators treat large buffers: set at start, and told when much was freed."""

import ctypes
from typing import Final

import pyarrow as pa

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
SMALL_FREE_BYTES: Final = 64 << 20
"""As ``KEPT_FREE_BYTES``, of a process that is to stay small."""
ARENAS_MAX: Final = 2
"""Of a process that is to stay small: each keeps free memory of its own."""
KEPT_BUFFER_BYTES: Final = 32 << 20
"""Buffers up to this size are taken from memory the process has already; more is glibc's limit."""
KEPT_FREE_BYTES: Final = 256 << 20
"""Free memory at the end of the heap that is not given back."""


def keep_buffers() -> None:
    """Messages of a few MiB are allocated and freed all the time. By default glibc maps and unmaps each, and the
    kernel zeroes its pages anew: a tenth of an import's time. Elsewhere than on glibc nothing changes."""
    _call("mallopt", _M_MMAP_THRESHOLD, KEPT_BUFFER_BYTES)
    _call("mallopt", _M_TRIM_THRESHOLD, KEPT_FREE_BYTES)


def stay_small() -> None:
    """For a process whose memory is bounded: all buffers come from one allocator, with few arenas, so that what one
    part frees another can use, and ``give_back`` reaches all of it."""
    pa.set_memory_pool(pa.system_memory_pool())
    _call("mallopt", _M_ARENA_MAX, ARENAS_MAX)
    _call("mallopt", _M_TRIM_THRESHOLD, SMALL_FREE_BYTES)


def give_back() -> None:
    """Returns freed memory to the system, after something large; takes some ms."""
    pa.default_memory_pool().release_unused()
    _call("malloc_trim", 0)


def _call(name: str, *arguments: int) -> None:
    try:
        function = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError):
        return
    function(*arguments)
