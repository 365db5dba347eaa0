"""Whose the rows of a batch are: runs of rows in the order of users' numbers. Pure."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from evenshard.kernels import kernel, view

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

_SPREAD: Final = 4
"""Numbers over a range at most so many times as large as they are many are sorted by counting."""
_INSERTED_MAX: Final = 24
"""So many rows of a user are sorted by insertion."""


@dataclass(frozen=True, slots=True)
class UserRuns:
    """Which rows are whose: those of run i are ``starts[i]`` to ``ends[i]`` (of ``order``, where there is one), by
    time, and of user ``numbers[i]``. Numbers ascend strictly; rows of nobody are in no run. dtype int32."""

    starts: Int32
    ends: Int32
    numbers: Int32
    order: Int32 | None = None

    @property
    def bytes(self) -> int:
        """Memory."""
        order = 0 if self.order is None else self.order.nbytes
        return int(self.starts.nbytes + self.ends.nbytes + self.numbers.nbytes + order)


def runs_of(starts: Int32, ends: Int32, numbers: Int32, times: Int64) -> UserRuns:
    """Of runs of rows, in the order of rows, and whose they are; a user may have several, and negative numbers are
    nobody's. Where they are not in order, or the rows of one not by time, there will be an ``order``."""
    somebody = numbers >= 0
    if not somebody.all():
        starts, ends, numbers = starts[somebody], ends[somebody], numbers[somebody]
    if (np.diff(numbers) > 0).all() and _by_time(starts, ends, times):
        return UserRuns(starts, ends, numbers)
    by_number = _by_number(numbers)
    firsts, stops, users = (np.empty(len(numbers), np.int32) for _ in range(3))
    order = np.empty(int((ends - starts).sum()), np.int32)
    found = _gather(by_number, starts, ends, numbers, times, firsts, stops, users, order)
    return UserRuns(firsts[:found].copy(), stops[:found].copy(), users[:found].copy(), order)


def _by_number(numbers: Int32) -> Int32:
    """The order of runs by number; of one number as they come."""
    low, high = int(numbers.min()), int(numbers.max())
    if high - low > _SPREAD * len(numbers):
        return np.argsort(numbers, kind="stable").astype(np.int32)
    order = np.empty(len(numbers), np.int32)
    _count_out(numbers, low, np.zeros(high - low + 2, np.int32), order)
    return order


@kernel(f"void({view('int32')}, int64, int32[::1], int32[::1])", counted=False)
def _count_out(numbers, low, places, order):  # type: ignore[no-untyped-def]
    """Sorts by counting; ``places``: zeros, two more than the largest number is above ``low``, the least."""
    for run in range(numbers.size):
        places[numbers[run] - low + 1] += 1
    for number in range(1, places.size):
        places[number] += places[number - 1]
    for run in range(numbers.size):
        at = numbers[run] - low
        order[places[at]] = run
        places[at] += 1


@kernel(f"int64({', '.join([view('int32')] * 4)}, {view('int64')}, int32[::1], int32[::1], int32[::1], int32[::1])")
def _gather(by_number, starts, ends, numbers, times, firsts, stops, users, order):  # type: ignore[no-untyped-def]
    """Puts the rows of each user together in ``order``, by time, rows of one time as they come. Returns how many
    users there are."""
    found, rows, run = 0, 0, 0
    while run < by_number.size:
        user = numbers[by_number[run]]
        first = rows
        while run < by_number.size and numbers[by_number[run]] == user:
            for row in range(starts[by_number[run]], ends[by_number[run]]):
                order[rows] = row
                rows += 1
            run += 1
        if rows - first > _INSERTED_MAX:
            mine = order[first:rows].copy()
            order[first:rows] = mine[np.argsort(times[mine], kind="mergesort")]
        else:
            for place in range(first + 1, rows):
                row, to = order[place], place
                while to > first and times[order[to - 1]] > times[row]:
                    order[to] = order[to - 1]
                    to -= 1
                order[to] = row
        firsts[found], stops[found], users[found] = first, rows, user
        found += 1
    return found


@kernel(f"boolean({view('int32')}, {view('int32')}, {view('int64')})", counted=False)
def _by_time(starts, ends, times):  # type: ignore[no-untyped-def]
    """Whether times rise within each run."""
    for run in range(np.uint64(starts.size)):
        for row in range(np.uint64(starts[run]) + np.uint64(1), np.uint64(ends[run])):
            if times[row] < times[row - np.uint64(1)]:
                return False
    return True
