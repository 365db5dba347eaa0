"""Kernels that add whole numbers up by cell, exactly, and find the least or greatest of each."""

import numpy as np

from evenshard.kernels import kernel, view

_LOW_32 = 0xFFFF_FFFF


@kernel(f"void({view('int64')}, {view('int64')}, int64[::1], int64[::1], int64[::1])", counted=False)
def sum_integers(cells, numbers, low, high, counts):  # type: ignore[no-untyped-def]
    """Adds each number's lower 32 bits, the rest and 1 to its cell's ``low``, ``high`` and ``counts``; at most 2^31
    numbers."""
    for row in range(np.uint64(cells.size)):
        cell = np.uint64(cells[row])
        low[cell] += numbers[row] & np.int64(_LOW_32)
        high[cell] += numbers[row] >> np.int64(32)
        counts[cell] += 1


@kernel(f"void({view('int64')}, {view('int64')}, boolean, int64[::1], uint8[::1])", counted=False)
def find_extremes(cells, numbers, largest, found, seen):  # type: ignore[no-untyped-def]
    """The least, or ``largest``, number of each cell; seen: 0, set where there is one."""
    for row in range(np.uint64(cells.size)):
        cell, number = np.uint64(cells[row]), numbers[row]
        better = number > found[cell] if largest else number < found[cell]
        if better or not seen[cell]:
            found[cell] = number
            seen[cell] = 1
