"""Whose the rows of a batch are: runs of rows in the order of users' numbers. Pure."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


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
    lengths = ends - starts
    rows = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths) + np.arange(int(lengths.sum()))
    of_rows = np.repeat(numbers, lengths)
    order = np.lexsort((times[rows], of_rows))
    of_rows = of_rows[order]
    firsts = np.flatnonzero(np.append(True, of_rows[1:] != of_rows[:-1])).astype(np.int32)
    stops = np.append(firsts[1:], np.int32(len(of_rows)))
    return UserRuns(firsts, stops, of_rows[firsts], rows[order].astype(np.int32))


def _by_time(starts: Int32, ends: Int32, times: Int64) -> bool:
    """Whether times rise within each run."""
    falls = np.flatnonzero(times[1:] < times[:-1]) + 1
    if not falls.size or not starts.size:
        return True
    run = np.searchsorted(starts, falls, "right") - 1
    inside = (run >= 0) & (falls > starts[run]) & (falls < ends[run])
    return not inside.any()
