"""Counts the users of each cell by a bit for each user and cell: parts need not be joined, nor rows be in order.

A user's bits lie together, and users come in the order of their numbers in each part, so parts are gone through from
their beginning to their end. Where there are many cells bits would be more than rows: those are counted otherwise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from evenshard.events.scan import Part, ScannedRows
from evenshard.events.user_runs import UserRuns
from evenshard.kernels import kernel, view
from evenshard.queries.cell_kernel import CLOCK, FOR_EVER, NO_BUCKET, bucket_at
from evenshard.queries.clock import Clock
from evenshard.queries.gather_kernel import DUPLICATE, USED
from evenshard.queries.groups import Integers
from evenshard.queries.user_chunks import in_turn
from evenshard.queries.user_rows import Int32, Int64, SmallMasks

BITS_MAX: Final = 1024
"""Of a user."""
MARKS_BYTES: Final = 4 << 20
"""Bits of the users of a chunk."""
_WORD_BITS: Final = 64
_NONE32: Final = np.zeros(0, np.int32)


@dataclass(frozen=True, slots=True)
class CellRows:
    """What tells the cell of each row of a part: see ``cells_of``."""

    codes: Integers
    groups: Int32
    events: Integers
    wanted: SmallMasks
    states: SmallMasks
    times: Int64
    tally: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    """Where events of users are counted, by cell, and behind them the duplicates that would have been of one; empty:
    nowhere."""


class UserMarks:
    """``cell_users`` and ``group_users``: how many each cell and each group has."""

    def __init__(self, groups: int, clock: Clock, buckets: int) -> None:
        self._clock = clock
        self._buckets = buckets
        self._words = bits_of(groups, buckets) // _WORD_BITS + 1
        self.cell_users = np.zeros(groups * buckets, np.int64)
        self.group_users = np.zeros(groups, np.int64)

    def count(
        self,
        known: Sequence[tuple[Part, UserRuns]],
        open_part: Callable[[ScannedRows], CellRows | None],
        check: Callable[[], None],
    ) -> None:
        """All users of ``known``. ``open_part``: None: nothing of it is wanted. ``check`` raises if nobody waits."""
        known = [(part, runs) for part, runs in known if len(runs.numbers)]
        end = max((int(runs.numbers[-1]) + 1 for _, runs in known), default=0)
        chunk = max(1, MARKS_BYTES // (self._words * _WORD_BITS // 8))
        bounds = np.append(np.arange(0, end, chunk), end)
        marks = np.empty(min(end, chunk) * self._words, np.uint64)
        for base, _, stretches in in_turn(known, bounds, open_part):
            marks[:] = 0
            for rows, runs, first, last in stretches:
                check()
                self._mark(rows, runs, first, last, base, marks)

    def _mark(
        self, rows: CellRows, runs: UserRuns, first: int, last: int, base: int, marks: npt.NDArray[np.uint64]
    ) -> None:
        order = _NONE32 if runs.order is None else runs.order
        mark_users(
            rows.codes, rows.groups, rows.events, rows.wanted, rows.states, rows.times, *self._clock.arguments,
            self._buckets, runs.starts, runs.ends, runs.numbers, order, first, last, base, self._words, marks,
            self.cell_users, self.group_users, rows.tally,
        )  # fmt: skip


def bits_of(groups: int, buckets: int) -> int:
    """How many bits a user has: one for each cell, and for each group."""
    return groups * buckets + groups


_ROWS = ", ".join([view("int32")] * 3 + [view("uint8")] * 2 + [view("int64")])
_RUNS = ", ".join([view("int32")] * 4 + ["int64"] * 3)


@kernel(
    f"void({_ROWS}, {CLOCK}, int64, {_RUNS}, int64, uint64[::1], int64[::1], int64[::1], int64[::1])", counted=False
)
def mark_users(  # type: ignore[no-untyped-def]
    codes, groups, events, wanted, states, times, start, shift, first_interval, bounds, bucket_of, buckets,
    starts, ends, numbers, order, first, last, base, words, marks, cell_users, group_users, tally,
):  # fmt: skip
    """Counts each user of the runs ``first`` to ``last`` in each cell, and in each group, where the bit is not set,
    and sets it.

    Rows: see ``cells_of``. Runs: see ``UserRuns``; ``order`` may be empty. marks: ``words`` a user, from ``base``.
    tally: see ``CellRows``.
    """
    coded, named, stated = codes.size > 0, events.size > 0, states.size > 0
    ordered, counting = order.size > 0, tally.size > 0
    cells = np.uint64(cell_users.size)
    bucket, since, until = np.int32(NO_BUCKET), FOR_EVER, -FOR_EVER
    for run in range(np.uint64(first), np.uint64(last)):
        mine = np.uint64(numbers[run] - base) * np.uint64(words)
        before = cells
        for place in range(np.uint64(starts[run]), np.uint64(ends[run])):
            row = np.uint64(order[place]) if ordered else place
            if named and not wanted[np.uint64(events[row])]:
                continue
            time = times[row]
            if time < since or time >= until:  # neighbours are mostly of one interval
                bucket, since, until = bucket_at(time, start, shift, first_interval, bounds, bucket_of)
            if bucket == np.int32(NO_BUCKET):
                continue
            if stated and states[row] != np.uint8(USED):
                if counting and states[row] == np.uint8(DUPLICATE):
                    tally[cells] += 1
                continue
            group = np.uint64(groups[np.uint64(codes[row])] if coded else groups[0])
            cell = group * np.uint64(buckets) + np.uint64(bucket)
            if counting:
                tally[cell] += 1
            if cell == before:
                continue
            before = cell
            bit, word = np.uint64(1) << (cell & np.uint64(63)), mine + (cell >> np.uint64(6))
            if not marks[word] & bit:
                marks[word] |= bit
                cell_users[cell] += 1
                of_group = cells + group
                bit, word = np.uint64(1) << (of_group & np.uint64(63)), mine + (of_group >> np.uint64(6))
                if not marks[word] & bit:
                    marks[word] |= bit
                    group_users[group] += 1
