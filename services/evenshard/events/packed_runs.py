"""Runs of users' rows in a sixth of the memory, for those that are kept rather than read. Pure."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evenshard.events.user_runs import Int32, UserRuns

UInt8 = npt.NDArray[np.uint8]
Narrow = npt.NDArray[np.unsignedinteger]
"""As narrow as the largest number lets it be."""
_KINDS = (np.uint8, np.uint16, np.uint32)


@dataclass(frozen=True, slots=True, eq=False)
class PackedRuns:
    """``UserRuns``: of each run how many rows lie between it and the one before (None: there are none anywhere) and how
    long it is; a bit for each number from ``first`` on says whether there is a run of it."""

    gaps: Narrow | None
    lengths: Narrow
    first: int
    whose: UInt8
    order: Int32 | None

    @property
    def bytes(self) -> int:
        """Memory."""
        return int(sum(each.nbytes for each in (self.gaps, self.lengths, self.whose, self.order) if each is not None))

    def unpacked(self) -> UserRuns:
        """The runs as they were; some 30 ns each."""
        numbers = np.flatnonzero(np.unpackbits(self.whose, bitorder="little")) + self.first
        lengths = self.lengths.astype(np.int32)
        ends = np.cumsum(lengths if self.gaps is None else lengths + self.gaps.astype(np.int32), dtype=np.int32)
        return UserRuns(ends - lengths, ends, numbers.astype(np.int32), self.order)


def packed(runs: UserRuns) -> PackedRuns:
    """The inverse of ``unpacked``. Runs follow one another, in the rows or in their order."""
    first = int(runs.numbers[0]) if runs.numbers.size else 0
    has_run = np.zeros(int(runs.numbers[-1]) - first + 1 if runs.numbers.size else 0, np.bool_)
    has_run[runs.numbers - first] = True
    gaps = runs.starts - np.append(np.int32(0), runs.ends[:-1])[: runs.starts.size]
    return PackedRuns(
        _narrow(gaps) if gaps.any() else None,
        _narrow(runs.ends - runs.starts),
        first,
        np.packbits(has_run, bitorder="little"),
        runs.order,
    )


def _narrow(numbers: Int32) -> Narrow:
    most = int(numbers.max(initial=0))
    return numbers.astype(next(kind for kind in _KINDS if most <= np.iinfo(kind).max))
