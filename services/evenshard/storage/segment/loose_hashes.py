"""Identity hashes on their way into a filter, which takes them in any order: nobody knows which row's each is.

They are read where they lie. Where only some are meant these are picked a piece at a time, into room that stays in a
core's cache, so that to pick them costs no pass over memory of its own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evenshard.events.hashing import UInt64
from evenshard.kernels import kernel, prefetch, view

_PIECE_ROWS = 1 << 15
_1, _3, _7, _SOON = (np.uint64(number) for number in (1, 3, 7, 512))


@kernel(f"int64({view('uint64')}, {view('int32')}, {view('uint8')}, uint64[::1])")
def _pick(hashes, rows, chosen, out):  # type: ignore[no-untyped-def]
    """Fills ``out`` with ``hashes[i]`` where bit ``rows[i]`` of ``chosen`` is set; returns how many that are. It has
    room for one more than all."""
    count = np.uint64(0)
    for i in range(np.uint64(rows.size)):
        prefetch(hashes, i + _SOON)
        prefetch(rows, i + _SOON)
        row = np.uint64(rows[i])
        out[count] = hashes[i]
        count += (np.uint64(chosen[row >> _3]) >> (row & _7)) & _1
    return np.int64(count)


@dataclass(frozen=True, slots=True)
class PickedHashes:
    """Those of some rows."""

    hashes: Sequence[UInt64]
    rows: npt.NDArray[np.int32]
    """The row of each."""
    chosen: npt.NDArray[np.uint8]
    """One bit a row, the lowest of a byte first: whether its hash is meant."""
    size: int
    """How many that are."""

    def pieces(self) -> Iterator[UInt64]:
        """Each holds until the next one is asked for."""
        picked = np.empty(min(_PIECE_ROWS, self.rows.size) + 1, np.uint64)
        at = 0
        for hashes in self.hashes:
            for start in range(0, hashes.size, _PIECE_ROWS):
                some = hashes[start : start + _PIECE_ROWS]
                yield picked[: _pick(some, self.rows[at : at + some.size], self.chosen, picked)]
                at += some.size


LooseHashes = UInt64 | PickedHashes


def arrays_of(hashes: LooseHashes) -> Iterator[UInt64]:
    """All of them; each array holds until the next one is asked for."""
    if isinstance(hashes, PickedHashes):
        yield from hashes.pieces()
    else:
        yield hashes
