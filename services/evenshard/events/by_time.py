"""Puts rows of one user in the order of time, within kernels."""

import numpy as np

from evenshard.kernels import kernel

_INSERTED_MAX = 24
"""So many rows are sorted by insertion."""


@kernel(inline="always")
def sort_by_time(first, end, times, values, places):  # type: ignore[no-untyped-def]
    """Sorts some rows; those of one time keep their order. places: may be empty."""
    placed = places.size > 0
    if end - first > _INSERTED_MAX:
        order = np.argsort(times[first:end], kind="mergesort")
        times[first:end] = times[first:end][order]
        values[first:end] = values[first:end][order]
        if placed:
            places[first:end] = places[first:end][order]
        return
    for row in range(first + 1, end):
        time, value, place, to = times[row], values[row], places[row] if placed else np.int32(0), row
        while to > first and times[to - 1] > time:
            times[to], values[to] = times[to - 1], values[to - 1]
            if placed:
                places[to] = places[to - 1]
            to -= 1
        times[to], values[to] = time, value
        if placed:
            places[to] = place
