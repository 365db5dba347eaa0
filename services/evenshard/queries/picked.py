"""Rows picked out of parts for one chunk of users, and what a query wants to know of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.errors import EvenshardError
from evenshard.events.scan import ScannedRows
from evenshard.events.user_runs import UserRuns
from evenshard.queries import user_rows
from evenshard.queries.gather_kernel import (
    LEFT_OUT,
    ROWS,
    RUNS,
    USED,
    join_runs,
    mark_coded,
    mark_masked,
    pick_coded,
    pick_masked,
)
from evenshard.queries.groups import Integers, dense
from evenshard.queries.user_codes import number_users
from evenshard.queries.user_order import contended_rows, number_sessions, order_by_rank
from evenshard.queries.user_rows import (
    SESSION_GAP_MS,
    AnyMasks,
    Choice,
    Coded,
    Int32,
    Int64,
    Kept,
    Matched,
    Needs,
    SmallMasks,
    UserRows,
    Valued,
)

_NONE8: Final = np.zeros(0, np.uint8)
_NONE32: Final = np.zeros(0, np.int32)
_KEPT: Final = "kept"
"""The code of rows that are more than part of a session."""


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A part that was read."""

    some: ScannedRows
    choice: Choice
    every: bool
    """All rows that are USED are picked; else those with a mask."""
    states: SmallMasks
    times: Int64
    codes: dict[str, Int32 | Valued] = field(default_factory=dict)
    late: dict[str, pa.Array] = field(default_factory=dict)
    """Columns that were read to order rows of one ms."""
    opens: SmallMasks = field(default_factory=lambda: _NONE8)
    """Of each code, or row, whether it makes its user one of interest; empty: unknown."""
    numbered: bool = False
    """See ``Needs``."""

    @staticmethod
    def of(some: ScannedRows, chosen: Choice | Matched, states: SmallMasks, needs: Needs) -> "Opened":
        """``states``: as kernels take them, of all rows."""
        choice, kept = (chosen.masks, chosen.kept) if isinstance(chosen, Matched) else (chosen, None)
        every = isinstance(chosen, Matched)
        codes: dict[str, Int32 | Valued] = {}
        if every and needs.sessions:
            codes[_KEPT] = np.ones(some.record.num_rows, np.int32) if kept is None else kept.astype(np.int32)
        elif kept is not None:
            left_out = np.where(kept, np.uint8(USED), np.uint8(LEFT_OUT))
            states = np.maximum(states, left_out) if len(states) else left_out
        times = some.record.column("time").to_numpy()
        opens = _NONE8
        if needs.opens is not None:
            opens = needs.opens(choice.bits if isinstance(choice, Coded) else choice).view(np.uint8)
        every = every or needs.sessions
        opened = Opened(some, choice, every, states, times, codes, opens=opens, numbered=needs.numbered)
        if needs.codes_of is not None:
            codes.update(needs.codes_of(some.record, opened))
        return opened

    def rows(self, bits: int) -> Integers:
        """Rows that are picked and have any of ``bits``."""
        choice = self.choice
        looked_at = choice.bits if isinstance(choice, Coded) else choice
        found: Kept
        if self.numbered:
            found = np.array([number > 0 and bits >> (number - 1) & 1 for number in range(256)], np.bool_)[looked_at]
        else:
            found = looked_at & looked_at.dtype.type(bits) != 0
        found = found[choice.codes] if isinstance(choice, Coded) else found
        return np.flatnonzero(found & (self.states == USED) if len(self.states) else found)


Stretch = tuple[Opened, UserRuns, int, int]
"""Some runs of a part: the first, and the one behind the last."""


class Picked:
    """Its room is used again for each chunk."""

    def __init__(self, kind: npt.DTypeLike, needs: Needs) -> None:
        self._needs = needs
        self._base = 0
        self._end = 0
        self._times = np.empty(0, np.int64)
        self._masks: npt.NDArray[Any] = np.empty(0, kind)
        self._numbers_rows = needs.codes_of is not None or needs.ties != "any" or needs.sessions
        """Whether it is to be known which rows they are."""
        self._places = bool(self._numbers_rows or needs.rank_mask)
        self._rows = _NONE32
        self._users = np.empty(0, np.int32)
        self._counts = np.empty(0, np.int32)
        self._at = np.zeros(RUNS + 1, np.int64)
        self._marks = _NONE8
        """Of the users of a chunk who is of interest; empty: all are."""
        self._marks_chunks = needs.opens is not None
        self._from: list[tuple[Opened, int]] = []
        """Parts, and where the rows of each end."""
        self._late_bytes = 0

    def begin(self, base: int, end: int) -> None:
        """From now on rows of the users ``base`` to ``end``."""
        self._base, self._end = base, end
        self._at[:] = 0
        self._from = []

    def add_all(self, stretches: Sequence[Stretch]) -> None:
        """Picks from all that parts have of the users; who is of no interest is seen before, where that is for many."""
        self._marks = _NONE8
        if self._marks_chunks:
            self._marks = np.zeros(self._end - self._base, np.uint8)
            for one, runs, first, last in stretches:
                self._mark(one, runs, first, last)
            if 2 * int(np.count_nonzero(self._marks)) > len(self._marks):
                self._marks_chunks = False
        for one, runs, first, last in stretches:
            self._add(one, runs, first, last)

    def _mark(self, one: Opened, runs: UserRuns, first: int, last: int) -> None:
        order = _NONE32 if runs.order is None else runs.order
        where = (runs.starts, runs.ends, runs.numbers, order, first, last, self._base)
        if isinstance(one.choice, Coded):
            mark_coded(one.choice.codes, one.opens, *where, self._marks)
        else:
            mark_masked(one.opens, *where, self._marks)

    def _add(self, one: Opened, runs: UserRuns, first: int, last: int) -> None:
        starts, ends = runs.starts, runs.ends
        self._reserve(int(ends[last - 1] - starts[first]), last - first)
        order = _NONE32 if runs.order is None else runs.order
        where = (one.times, starts, ends, runs.numbers, order, first, last, self._base, self._marks, one.every)
        out = (self._times, self._masks, self._rows, self._users, self._counts, self._at)
        if isinstance(one.choice, Coded):
            pick_coded(one.choice.codes, one.choice.bits, one.states, *where, *out)
        else:
            pick_masked(one.choice, one.states, *where, *out)
        self._from.append((one, int(self._at[ROWS])))

    def _reserve(self, rows: int, runs: int) -> None:
        """Room for so many more, and the one that is written before it is known to be wanted."""
        needed_rows, needed_runs = int(self._at[ROWS]) + rows + 1, int(self._at[RUNS]) + runs + 1
        if needed_rows > len(self._times):
            size = max(needed_rows, 2 * len(self._times))
            self._times, self._masks = _grown(self._times, size), _grown(self._masks, size)
        if self._numbers_rows and needed_rows > len(self._rows):
            self._rows = _grown(self._rows, max(needed_rows, 2 * len(self._rows)))
        if needed_runs > len(self._users):
            size = max(needed_runs, 2 * len(self._users))
            self._users, self._counts = _grown(self._users, size), _grown(self._counts, size)

    def joined(self) -> UserRows:
        """All that was picked. Raises ``QUERY_INVALID`` beyond ``ROWS_MAX`` rows."""
        rows, runs = int(self._at[ROWS]), int(self._at[RUNS])
        if rows > user_rows.ROWS_MAX:
            raise EvenshardError(
                "QUERY_INVALID",
                f"more than {user_rows.ROWS_MAX} events of one user take part",
                hint="ask for fewer days, a shorter window, or filter with where",
            )
        starts, times, masks, places = self._of_one_part(rows, runs) if len(self._from) == 1 else self._join(rows, runs)
        sessions = np.zeros(0, np.int32)
        if self._needs.sessions:
            sessions = np.empty(rows, np.int32)
            number_sessions(starts, times, SESSION_GAP_MS, sessions)
            kept = self._codes(_KEPT, places) != 0 if self._has(_KEPT) else masks != 0
            starts = np.append(0, np.cumsum(kept))[starts]
            times, masks, places, sessions = times[kept], masks[kept], places[kept], sessions[kept]
        if self._needs.ties != "any":
            self._order_within_ms(starts, times, masks, places)
        if self._needs.rank_mask:
            order_by_rank(starts, times, np.uint64(self._needs.rank_mask), masks, places)
        names = [name for name in self._from[0][0].codes if name != _KEPT] if self._from else []
        codes = {name: self._codes(name, places) for name in names}
        return UserRows(starts, times, masks, self._base, codes, sessions)

    def _of_one_part(self, rows: int, runs: int) -> tuple[Int64, Int64, AnyMasks, Int32]:
        """What one part has of each user is in order already."""
        starts = np.zeros(self._end - self._base + 1, np.int64)
        starts[self._users[:runs] + 1] = self._counts[:runs]
        np.cumsum(starts, out=starts)
        times, masks = self._times[:rows], self._masks[:rows]
        self._times, self._masks = np.empty(0, np.int64), np.empty(0, masks.dtype)  # they are the caller's now
        return starts, times, masks, np.arange(rows if self._places else 0, dtype=np.int32)

    def _join(self, rows: int, runs: int) -> tuple[Int64, Int64, AnyMasks, Int32]:
        """What several parts have of each user."""
        starts = np.empty(self._end - self._base + 1, np.int64)
        times, masks = np.empty(rows, np.int64), np.empty(rows, self._masks.dtype)
        places = np.empty(rows if self._places else 0, np.int32)
        runs_joined = (self._users[:runs], self._counts[:runs], self._times[:rows], self._masks[:rows])
        join_runs(*runs_joined, starts, times, masks, places)
        return starts, times, masks, places

    def late_bytes(self) -> int:
        """Bytes of columns read for the order within a ms since it was asked last."""
        size, self._late_bytes = self._late_bytes, 0
        return size

    def _has(self, name: str) -> bool:
        return bool(self._from) and name in self._from[0][0].codes

    def _codes(self, name: str, places: Int32) -> Int32:
        """The codes of rows that were picked, by their places."""
        codes = np.empty(int(self._at[ROWS]), np.int32)
        first = 0
        dictionaries: list[tuple[int, int, pa.Array]] = []
        for one, end in self._from:
            mine, rows = one.codes[name], self._rows[first:end]
            if isinstance(mine, Valued):
                used, codes[first:end] = _used(mine.codes[rows], len(mine.values))
                dictionaries.append((first, end, mine.values.take(pa.array(used))))
            else:
                np.take(mine, rows, out=codes[first:end], mode="clip")
            first = end
        if dictionaries:
            numbers, _ = number_users([values for _, _, values in dictionaries])
            for (first, end, _), mine in zip(dictionaries, numbers, strict=True):
                codes[first:end] = mine[codes[first:end]]
        return codes[places]

    def _order_within_ms(self, starts: Int64, times: Int64, masks: AnyMasks, places: Int32) -> None:
        """Sorts rows of one user and ms by (name, insert_id), where it matters; rows that agree keep their order."""
        rows, moments = np.empty(len(times), np.int64), np.empty(len(times), np.int64)
        bits, shared = np.uint64(self._needs.tie_mask), self._needs.ties == "shared"
        count = contended_rows(starts, times, masks, bits, self._needs.numbered, shared, rows, moments)
        if not count:
            return
        contended = rows[:count]
        keys = self._keys(places[contended]).append_column("moment", pa.array(moments[:count]))
        by = [("moment", "ascending"), ("event", "ascending"), ("insert_id", "ascending", "at_start")]
        order = contended[pc.sort_indices(keys, by).to_numpy()]
        masks[contended], places[contended] = masks[order], places[order]

    def _keys(self, places: Int32) -> pa.Table:
        """``event`` and ``insert_id`` (utf8) of rows that were picked."""
        ends = np.array([end for _, end in self._from])
        part_of = np.searchsorted(ends, places, "right")
        by_part = np.argsort(part_of, kind="stable")
        parts: list[pa.Table] = []
        for number in np.unique(part_of).tolist():
            one, _ = self._from[number]
            mine = pa.array(self._rows[places[part_of == number]])
            for name in ("event", "insert_id"):
                if name not in one.late:
                    one.late[name], size = one.some.column(name)
                    self._late_bytes += size
            parts.append(pa.table({name: column.take(mine).cast(pa.utf8()) for name, column in one.late.items()}))
        back = np.empty(len(places), np.int64)
        back[by_part] = np.arange(len(places))
        return pa.concat_tables(parts).take(pa.array(back))


def _used(codes: Int32, size: int) -> tuple[Integers, Integers]:
    """The codes (below ``size``) that occur, ascending, and the place of each code among them."""
    return dense(codes, size) if size <= 4 * len(codes) else np.unique(codes, return_inverse=True)


def _grown(array: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    larger = np.empty(size, array.dtype)
    larger[: len(array)] = array
    return larger
