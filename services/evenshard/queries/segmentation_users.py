"""Unique users on a shard, part by part, and the events counted with them. Partial and account are those of
``segmentation``.

Where buckets alone tell cells, parts are gone through once: a user's events are counted as the user is. With a
breakdown events are counted first, for that tells the groups. Users are told by bits; where cells are many, in their
order, which needs no set of who was counted.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
import pyarrow as pa

from evenshard.events.scan import Part, Parts, ScannedRows
from evenshard.queries.cell_kernel import count_users
from evenshard.queries.cell_values import ValueRows, counts_alone
from evenshard.queries.clock import Clock
from evenshard.queries.groups import Integers
from evenshard.queries.plan import ScanStats, SegmentationScan
from evenshard.queries.segmentation_parts import PartsPass
from evenshard.queries.user_chunks import UserChunks
from evenshard.queries.user_marks import BITS_MAX, CellRows, UserMarks, bits_of
from evenshard.queries.user_rows import Choice, Int64, UserRows
from evenshard.queries.whose_rows import whose_rows

_NO_TALLY: Final = np.zeros(0, np.int64)


def scan_parts(
    plan: SegmentationScan, clock: Clock, parts: Parts, check: Callable[[], None]
) -> tuple[pa.Table, ScanStats]:
    """The partial and the account. ``check`` raises if nobody waits any more."""
    running = _UsersPass(plan, clock)
    parts = parts.read_once()
    if not plan.by and bits_of(1, plan.buckets) <= BITS_MAX:
        running.count_at_once(parts, check)
        return running.partial(), running.stats()
    for number, part in enumerate(parts.parts):
        check()
        running.count(number, part.read())
    if running.cells is not None:
        running.count_users(parts, check)
    return running.partial(), running.stats()


class _UsersPass(PartsPass):
    """Counts users too."""

    def __init__(self, plan: SegmentationScan, clock: Clock) -> None:
        super().__init__(plan, clock)
        self._reading = 0
        self._cell_users: Integers = np.zeros(0, np.int64)
        self._group_users: Integers = np.zeros(0, np.int64)
        self._cell_events: Integers = np.zeros(0, np.int64)
        """Of users; for ``average``."""

    def count_at_once(self, parts: Parts, check: Callable[[], None]) -> None:
        """Counts events and users."""
        on_the_way = {indexed: _no_tally(self.plan.buckets) for indexed in (False, True)}
        apart = _no_tally(self.plan.buckets)
        for part in parts.parts:
            if part.users is None or not len(part.users.numbers):
                check()
                self.count(0, part.read())

        def opened(some: ScannedRows) -> CellRows | None:
            tally, runs = apart, some.users
            if runs is not None and int((runs.ends - runs.starts).sum()) == some.record.num_rows:
                self.account(some)
                tally = on_the_way[some.indexed]
            elif runs is not None:  # some rows are nobody's
                self.count(0, some)
            rows = self._cell_rows(some)
            return None if rows is None else replace(rows, tally=tally)

        self._mark_users(1, parts, opened, check)
        for indexed, tally in on_the_way.items():
            self.add_counts(tally[:-1].reshape(1, -1), np.zeros(1, np.int64))
            self.skipped[indexed] += int(tally[-1])
        if self.plan.measure == "average":
            self._cell_events = (apart + on_the_way[False] + on_the_way[True])[:-1]

    def count_users(self, parts: Parts, check: Callable[[], None]) -> None:
        """Counts the users of each cell that has events."""
        groups = len(self.groups) if self.keep is None else self.keep + 1
        is_average = self.plan.measure == "average"
        tally = _no_tally(groups * self.plan.buckets) if is_average else _NO_TALLY
        if bits_of(groups, self.plan.buckets) <= BITS_MAX:

            def opened(some: ScannedRows) -> CellRows | None:
                rows = self._cell_rows(some)
                return None if rows is None else replace(rows, tally=tally)

            self._mark_users(groups, parts, opened, check)
        else:
            self._follow_users(groups, parts, tally[:-1], check)
        if is_average:
            self._cell_events = tally[:-1]

    def _mark_users(
        self,
        groups: int,
        parts: Parts,
        opened: Callable[[ScannedRows], CellRows | None],
        check: Callable[[], None],
    ) -> None:
        marks = UserMarks(groups, self.clock, self.plan.buckets)
        marks.count(whose_rows(self._noted(parts), check).parts, opened, check)
        self._cell_users, self._group_users = marks.cell_users, marks.group_users

    def _follow_users(self, groups: int, parts: Parts, events: Int64, check: Callable[[], None]) -> None:
        self._cell_users = np.zeros(groups * self.plan.buckets, np.int64)
        self._group_users = np.zeros(groups, np.int64)
        last_in_cell, last_in_group = np.full(len(self._cell_users), -1), np.full(groups, -1)
        chunks = UserChunks(self._cells, np.uint64, skip_duplicates=self.plan.skip_duplicates, check=check)
        for chunk in chunks.of(self._noted(parts)):
            self._follow(chunk, last_in_cell, last_in_group, events)

    def _follow(self, chunk: UserRows, last_in_cell: Integers, last_in_group: Integers, events: Int64) -> None:
        count_users(
            chunk.starts, chunk.masks, self.plan.buckets, last_in_cell, last_in_group, self._cell_users,
            self._group_users, events, chunk.first,
        )  # fmt: skip

    def _noted(self, parts: Parts) -> Parts:
        """The same, so that ``_cell_rows`` knows them again."""

        def noted(number: int, part: Part) -> Part:
            def read() -> ScannedRows:
                self._reading = number
                return replace(part.read(), users=part.users)

            return part if part.users is None else replace(part, read=read)

        return Parts([noted(number, part) for number, part in enumerate(parts.parts)], parts.people)

    def _cell_rows(self, some: ScannedRows) -> CellRows | None:
        """What tells the cell of each row; None: no row is wanted."""
        rows = self.rows_of(some)
        if rows is None:
            return None
        groups = self.groups_of_codes.get(self._reading) if some.users is not None and self.plan.by else None
        own = self.own_codes_of(some.record)
        if groups is None and self.plan.by:
            rows, groups = self.grouped(some, rows)
        elif own is not None:
            rows = replace(rows, codes=own.codes)
        return self.placed(rows, np.zeros(1, np.int64) if groups is None else groups)

    def _cells(self, some: ScannedRows) -> Choice | None:
        """The cell of each row, plus 1."""
        rows = self._cell_rows(some)
        return None if rows is None else self.cells_of_rows(rows)

    def values_found(self) -> ValueRows | None:
        if self.plan.measure != "average" or self.cells is None:
            return super().values_found()
        cells = np.flatnonzero(self._cell_events)
        return counts_alone(cells, self._cell_events[cells])

    def users_of_cells(self, keys: Integers) -> Integers:
        return self._cell_users[keys] if len(self._cell_users) else np.zeros(len(keys), np.int64)

    def users_of_groups(self, groups: Integers) -> Integers:
        return self._group_users[groups] if len(self._group_users) else np.zeros(len(groups), np.int64)


def _no_tally(cells: int) -> Int64:
    """See ``CellRows``."""
    return np.zeros(cells + 1, np.int64)
