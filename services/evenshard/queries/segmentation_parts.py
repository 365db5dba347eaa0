"""Counts and unique users on a shard, part by part: kernels go over columns as they are stored, nothing is copied.

Partial and account are those of ``segmentation``. Events are counted in one pass over parts; users in a second one that
goes through them in their order, so that a user is counted once in a cell without keeping who was counted.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.scan import Parts, ScannedRows, duplicate_rows
from evenshard.queries.cell_kernel import cells_of, count_cells
from evenshard.queries.cell_values import CellValues
from evenshard.queries.clock import Clock
from evenshard.queries.evaluate import evaluate
from evenshard.queries.gather_kernel import LEFT_OUT, USED
from evenshard.queries.groups import Groups, Integers, OwnCodes, own_codes
from evenshard.queries.measures import OF_EVENTS
from evenshard.queries.plan import ScanStats, SegmentationScan
from evenshard.queries.segmentation import CELLS_MAX, SegmentationPass
from evenshard.queries.user_chunks import states_of
from evenshard.queries.user_marks import CellRows
from evenshard.queries.user_rows import Masks, SmallMasks
from evenshard.queries.values import columns_holding, encoded

_NONE32: Final = np.zeros(0, np.int32)
_NONE8: Final = np.zeros(0, np.uint8)
_NO_ROWS: Final = np.zeros(0, np.int64)


def clock_for(plan: SegmentationScan) -> Clock | None:
    """How ``scan_parts`` tells buckets; None: the plan is not for it."""
    return Clock.of(plan.bounds_ms, plan.bucket_of)


def scan_parts(
    plan: SegmentationScan, clock: Clock, parts: Parts, check: Callable[[], None]
) -> tuple[pa.Table, ScanStats]:
    """The partial and the account. ``check`` raises if nobody waits any more."""
    running = PartsPass(plan, clock)
    for number, part in enumerate(parts.parts):
        check()
        running.count(number, part.read())
    return running.partial(), running.stats()


@dataclass(frozen=True, slots=True)
class _Rows:
    """What kernels need of a part: see ``count_cells``."""

    codes: Integers
    events: Integers
    wanted: SmallMasks
    states: SmallMasks
    times: npt.NDArray[np.int64]


class PartsPass(SegmentationPass):
    """Counts by part instead of by rows that were selected."""

    def __init__(self, plan: SegmentationScan, clock: Clock) -> None:
        super().__init__(plan)
        self.users = None
        if plan.measure in OF_EVENTS:
            self.values = None
        self.clock = clock
        self.groups_of_codes: dict[int, Integers] = {}
        """Of each part that was counted with codes of its own."""

    def count(self, number: int, some: ScannedRows) -> None:
        """Counts the events of a part."""
        self.account(some)
        own = self.own_codes_of(some.record)
        by_rows = own is None and bool(self.plan.by)
        all_meant = some.keep is None and self.where is None and not by_rows and self.values is None
        rows = self.rows_of(some, stated=not all_meant)
        if rows is None or not some.record.num_rows:
            return
        if by_rows:
            self.skipped[some.indexed] += self._counted(rows, 1)[1]
            rows, groups = self.grouped(some, rows)
            counts, _ = self._counted(rows, len(groups))
        else:
            values = pa.array([""]) if own is None else own.values
            rows = rows if own is None else replace(rows, codes=own.codes)
            if all_meant:
                counts, skipped = self._counted_apart(some, rows, len(values))
            else:
                counts, skipped = self._counted(rows, len(values))
            self.skipped[some.indexed] += skipped
            groups = np.zeros(len(values), np.int64)
            if own is not None:
                occurring = np.flatnonzero(counts.any(axis=1))
                shown = pa.RecordBatch.from_arrays([own.values.take(pa.array(occurring))], names=[own.column])
                groups[occurring] = self.groups.number(shown)
            self.groups_of_codes[number] = groups
        self.add_counts(counts, groups)
        if self.values is not None:
            self._add_values(self.values, some.record, rows, groups)

    def account(self, some: ScannedRows) -> None:
        """Of rows that were read."""
        self.rows += some.record.num_rows if some.keep is None else int(np.count_nonzero(some.keep))
        self.bytes += some.bytes_read

    def _add_values(self, values: CellValues, record: pa.RecordBatch, rows: _Rows, groups: Integers) -> None:
        """``groups``: of the codes of ``rows``. Only what is measured is taken out of the columns."""
        cells = self.cells_of_rows(self.placed(rows, groups))
        places = np.flatnonzero(cells)
        measured = record.select(columns_holding((self.plan.measured_property,), record.schema.names))
        if not len(places) or not measured.num_columns:
            return
        if len(places) < len(cells):
            cells, measured = cells[places], measured.take(pa.array(places))
        values.add(cells.astype(np.int64) - 1, measured)

    def placed(self, rows: _Rows, groups: Integers) -> CellRows:
        """With the group of each code, as it is shown."""
        shown = self.shown_as(groups).astype(np.int32)
        return CellRows(rows.codes, shown, rows.events, rows.wanted, rows.states, rows.times)

    def cells_of_rows(self, rows: CellRows) -> Masks:
        """The cell of each row that counts, plus 1."""
        cells = np.empty(len(rows.times), np.uint64)
        cells_of(
            rows.codes, rows.groups, rows.events, rows.wanted, rows.states, rows.times, *self.clock.arguments,
            self.plan.buckets, cells,
        )  # fmt: skip
        return cells

    def add_counts(self, counts: npt.NDArray[np.int64], groups: Integers) -> None:
        """``counts``: of each code and bucket."""
        occurring = np.flatnonzero(counts.any(axis=1))
        if not len(occurring):
            return
        by_group = np.zeros(len(self.groups), np.int64)
        by_group[: len(self.group_events)] = self.group_events
        np.add.at(by_group, groups[occurring], counts[occurring].sum(axis=1))
        self.group_events = by_group
        self._give_up_cells_where_too_many()
        if self.cells is not None:
            codes, buckets = np.nonzero(counts)
            self.cells.add(self.shown_as(groups)[codes] * self.plan.buckets + buckets, counts[codes, buckets])

    def shown_as(self, groups: Integers) -> Integers:
        return (groups if self.keep is None else np.minimum(groups, self.keep)).astype(np.int64)

    def rows_of(self, some: ScannedRows, *, stated: bool = True) -> _Rows | None:
        """None: no row is wanted. Not ``stated``: as if all were meant."""
        record = some.record
        events, wanted = _NONE32, _NONE8
        if self.plan.events:
            codes, names = encoded(record.column("event"))
            found = pc.is_in(names, value_set=pa.array(self.plan.events, names.type))
            events, wanted = codes, found.to_numpy(zero_copy_only=False).view(np.uint8)
            if not wanted.any():
                return None
        states = states_of(some, self.plan.skip_duplicates) if stated else _NONE8
        if self.where is not None:
            left_out = np.where(evaluate(self.where, record), np.uint8(USED), np.uint8(LEFT_OUT))
            states = np.maximum(states, left_out) if len(states) else left_out
        return _Rows(_NONE32, events, wanted, states, record.column("time").to_numpy())

    def _counted(self, rows: _Rows, codes: int) -> tuple[npt.NDArray[np.int64], int]:
        """How many of each of so many codes each bucket has, and the duplicates that were left out."""
        counts = np.zeros((2, codes, self.plan.buckets), np.int64)
        skipped: int = count_cells(
            rows.codes, rows.events, rows.wanted, rows.states, rows.times, *self.clock.arguments, self.plan.buckets,
            counts.reshape(-1),
        )  # fmt: skip
        return counts[0] + counts[1], skipped

    def _counted_apart(self, some: ScannedRows, rows: _Rows, codes: int) -> tuple[npt.NDArray[np.int64], int]:
        """The same of rows that are all meant: counts all, and the duplicates, which are few, again."""
        whole, _ = self._counted(rows, codes)
        places = duplicate_rows(some.record) if self.plan.skip_duplicates else _NO_ROWS
        if not len(places):
            return whole, 0
        few = _Rows(
            rows.codes[places] if len(rows.codes) else rows.codes,
            rows.events[places] if len(rows.events) else rows.events,
            rows.wanted,
            _NONE8,
            rows.times[places],
        )
        copies, _ = self._counted(few, codes)
        return whole - copies, int(copies.sum())

    def own_codes_of(self, record: pa.RecordBatch) -> OwnCodes | None:
        """Where the breakdown is by one property that has a dictionary here, and only few values."""
        own = own_codes(self.plan.by, record)
        return None if own is None or len(own.values) * self.plan.buckets > CELLS_MAX else own

    def grouped(self, some: ScannedRows, rows: _Rows) -> tuple[_Rows, Integers]:
        """Each row's group as its code, whatever the breakdown is by; and the group of each code."""
        counted = np.empty(len(rows.times), np.uint64)
        nowhere = np.zeros(1, np.int32)
        cells_of(
            rows.codes, nowhere, rows.events, rows.wanted, rows.states, rows.times, *self.clock.arguments,
            self.plan.buckets, counted,
        )  # fmt: skip
        places = np.flatnonzero(counted)
        shown = some.record.select(columns_holding(self.plan.by, some.record.schema.names))
        codes = np.zeros(len(rows.times), np.int32)
        if len(places):
            codes[places] = number_rows(self.groups, shown, places)
        states = np.where(counted != 0, np.uint8(USED), np.uint8(LEFT_OUT))
        return replace(rows, codes=codes, states=states), np.arange(max(1, len(self.groups)))


def number_rows(groups: Groups, shown: pa.RecordBatch, rows: Integers) -> Integers:
    """The groups of some rows."""
    if not shown.num_columns:
        empty = pa.RecordBatch.from_arrays([pa.nulls(len(rows))], names=["nothing"])
        return groups.number(empty)
    return groups.number(shown.take(pa.array(rows)))
