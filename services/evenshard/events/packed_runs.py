"""Runs of users' rows in half the memory, for those that are kept rather than read. Pure."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evenshard.events.user_runs import Int32, UserRuns

UInt8 = npt.NDArray[np.uint8]
_LENGTHS = (np.uint8, np.uint16, np.uint32)


@dataclass(frozen=True, slots=True, eq=False)
class PackedRuns:
    """``UserRuns``: of each run its start (int32[n]) and length (uint[n], as narrow as the longest lets them be); a bit
    for each number from ``first`` on says whether there is a run of it."""

    starts: Int32
    lengths: npt.NDArray[np.unsignedinteger]
    first: int
    whose: UInt8
    order: Int32 | None

    @property
    def bytes(self) -> int:
        """Memory."""
        order = 0 if self.order is None else self.order.nbytes
        return int(self.starts.nbytes + self.lengths.nbytes + self.whose.nbytes + order)

    def unpacked(self) -> UserRuns:
        """The runs as they were; some ns each."""
        numbers = np.flatnonzero(np.unpackbits(self.whose, bitorder="little")) + self.first
        ends = self.starts + self.lengths.astype(np.int32)
        return UserRuns(self.starts, ends, numbers.astype(np.int32), self.order)


def packed(runs: UserRuns) -> PackedRuns:
    """The inverse of ``unpacked``."""
    first = int(runs.numbers[0]) if runs.numbers.size else 0
    has_run = np.zeros(int(runs.numbers[-1]) - first + 1 if runs.numbers.size else 0, np.bool_)
    has_run[runs.numbers - first] = True
    lengths = runs.ends - runs.starts
    longest = int(lengths.max(initial=0))
    narrowest = next(kind for kind in _LENGTHS if longest <= np.iinfo(kind).max)
    return PackedRuns(
        runs.starts, lengths.astype(narrowest), first, np.packbits(has_run, bitorder="little"), runs.order
    )
