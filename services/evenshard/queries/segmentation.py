"""Segmentation on a shard: one pass over rows, whose result is a table that adds up.

**Partial**: ``by_0`` … (utf8, the tags of a group), ``bucket`` (int32), ``events`` and ``users`` (int64), each
(group, bucket) at most once; for measures beyond these also the rows of ``cell_values``. Bucket ``OVERALL`` is the
whole range; bucket ``RANK`` tells only how many events a group has that is not answered for by itself: it is folded
into the group of ``OTHER`` tags, or (all groups have only ``RANK`` then) they are too many, and the gateway has to say
which to keep. All of a user's events come to one scan, so the partials of shards simply add, uniques too.

Duplicates skipped are those in the range that the query's events and filter select.
"""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.scan import ScannedRows, duplicates_of
from evenshard.queries.cell_values import CellValues, ValueRows, cell_values
from evenshard.queries.cells import CellCounts, CellUsers
from evenshard.queries.columns import Columns
from evenshard.queries.counting import counted
from evenshard.queries.evaluate import Mask, evaluate
from evenshard.queries.expression import Expression, names_in, parse
from evenshard.queries.groups import Groups, Integers
from evenshard.queries.measures import FOLD_AT_THE_GATEWAY, OF_USERS
from evenshard.queries.plan import ScanStats, SegmentationScan
from evenshard.queries.values import FIELD_OF_NAME, OTHER, columns_holding, encoded

OVERALL = -1
RANK = -2
CELLS_MAX = 2_000_000
"""Cells (groups × buckets) of a partial and of an answer."""


def columns_of(plan: SegmentationScan, *, numbered: bool) -> Columns:
    """What a scan reads. ``numbered``: it knows users by numbers."""
    names = frozenset(plan.by) | (names_in(parse(plan.where)) if plan.where else frozenset())
    if plan.measured_property:
        names |= {plan.measured_property}
    fields = {"time"} | {FIELD_OF_NAME[name] for name in names if name in FIELD_OF_NAME}
    if plan.events:
        fields.add("event")
    if plan.measure in OF_USERS and not numbered:
        fields.add("distinct_id")
    return Columns.of(fields, (name for name in names if name not in FIELD_OF_NAME), users=numbered)


def scan_rows(plan: SegmentationScan, rows: Iterable[ScannedRows]) -> tuple[pa.Table, ScanStats]:
    """Goes once through ``rows`` and returns the partial and the account of the scan.

    Raises ``QUERY_INVALID`` for more groups or users than can be held.
    """
    running = SegmentationPass(plan)
    for some in rows:
        running.add(some)
    return running.partial(), running.stats()


class SegmentationPass:
    """The state of one pass: bounded by groups, cells and distinct users, not by rows."""

    def __init__(self, plan: SegmentationScan) -> None:
        self.plan = plan
        self.where: Expression | None = parse(plan.where) if plan.where else None
        self.bounds = np.array(plan.bounds_ms, np.int64)
        self.bucket_of = np.array(plan.bucket_of, np.int32)
        self.all_inside = bool((self.bucket_of >= 0).all())
        self.groups = Groups(plan.by)
        self.keep: int | None = None
        if plan.keep is not None:
            self.groups.add(plan.keep)
            self.keep = len(self.groups)
        self.group_events: Integers = np.zeros(0, np.int64)
        self.cells: CellCounts | None = CellCounts()
        self.users: CellUsers | None = CellUsers() if plan.measure in OF_USERS else None
        self.values: CellValues | None = cell_values(plan.measure, plan.measured_property)
        self.skipped = {True: 0, False: 0}
        self.rows = 0
        self.bytes = 0

    def add(self, some: ScannedRows) -> None:
        self.rows += some.record.num_rows
        self.bytes += some.bytes_read
        selected = self._selected(some)
        record = some.record
        if selected is not None:
            record = _rows_at(record, np.flatnonzero(selected), self._columns_after_selection(record))
        if record.num_rows == 0:
            return
        buckets = self._buckets(record)
        groups = self.groups.number(record)
        self._count_groups(groups)
        self._give_up_cells_where_too_many()
        if self.cells is None:
            return
        shown = groups if self.keep is None else np.minimum(groups, self.keep)
        cells = shown.astype(np.int64) * self.plan.buckets + buckets
        self.cells.add(*counted(cells))
        if self.users is not None:
            codes, ids = encoded(record.column("distinct_id"))
            self.users.add(cells, codes, ids)
        if self.values is not None:
            self.values.add(cells, record)

    def _selected(self, some: ScannedRows) -> Mask | None:
        """The rows that count; None: all. Counts the duplicates skipped."""
        record, selected = some.record, None
        if self.plan.events:
            codes, names = encoded(record.column("event"))
            wanted = pc.is_in(names, value_set=pa.array(self.plan.events, names.type))
            selected = wanted.to_numpy(zero_copy_only=False)[codes]
        if self.where is not None:
            matches = evaluate(self.where, record)
            selected = matches if selected is None else selected & matches
        if not self.all_inside:
            inside = self._buckets(record) >= 0
            selected = inside if selected is None else selected & inside
        if self.plan.skip_duplicates:
            duplicate = duplicates_of(record)
            if duplicate is not None:
                skipped = duplicate if selected is None else duplicate & selected
                self.skipped[some.indexed] += int(np.count_nonzero(skipped))
                selected = ~duplicate if selected is None else selected & ~duplicate
        return None if selected is not None and selected.all() else selected

    def _columns_after_selection(self, record: pa.RecordBatch) -> list[str]:
        """Columns needed once rows are selected: time, the breakdown's, the measured property's, the user."""
        others = ["time", "distinct_id"] if self.plan.measure in OF_USERS else ["time"]
        names = (*self.plan.by, self.plan.measured_property) if self.plan.measured_property else self.plan.by
        found = columns_holding(names, record.schema.names)
        return [*found, *(name for name in others if name not in found)]

    def _buckets(self, record: pa.RecordBatch) -> Integers:
        times = record.column("time").to_numpy()
        if len(self.bucket_of) == 1:
            return np.full(len(times), self.bucket_of[0])
        result: Integers = self.bucket_of[np.searchsorted(self.bounds, times, "right") - 1]
        return result

    def _count_groups(self, groups: Integers) -> None:
        counts = np.bincount(groups, minlength=len(self.groups))
        counts[: len(self.group_events)] += self.group_events
        self.group_events = counts

    def _give_up_cells_where_too_many(self) -> None:
        """More groups than are shown: their cells would be thrown away, or be too many to send."""
        if self.keep is not None or self.cells is None or len(self.groups) <= self.plan.limit:
            return
        folds = self.plan.measure in FOLD_AT_THE_GATEWAY
        if not folds or len(self.groups) * self.plan.buckets > CELLS_MAX:
            self.cells, self.users, self.values = None, None, None

    def partial(self) -> pa.Table:
        """What the pass found."""
        groups, buckets, events, users = [], [], [], []
        if self.cells is not None:
            keys, counts = self.cells.sums()
            groups.append(keys // self.plan.buckets)
            buckets.append(keys % self.plan.buckets)
            events.append(counts)
            shown, first = np.unique(groups[0], return_index=True)
            groups.append(shown)
            buckets.append(np.full(len(shown), OVERALL))
            events.append(np.add.reduceat(counts, first) if len(first) else counts)
            users += [self.users_of_cells(keys), self.users_of_groups(shown)]
        columns = self._labelled(np.concatenate(groups) if groups else np.zeros(0, np.int64))
        table = _table(columns, _joined(buckets), _joined(events), _joined(users))
        found = self.values_found()
        tables = [table, self._ranking(), *([] if found is None else [self._value_rows(found)])]
        return pa.concat_tables(tables, promote_options="default")

    def values_found(self) -> ValueRows | None:
        """What is kept beyond counts and users; None: nothing."""
        return None if self.values is None else self.values.rows()

    def _value_rows(self, found: ValueRows) -> pa.Table:
        nothing = np.zeros(len(found.cells), np.int64)
        columns = self._labelled(found.cells // self.plan.buckets)
        table = _table(columns, found.cells % self.plan.buckets, nothing, nothing)
        for name, column in (("whole", found.whole), ("exact", found.exact), ("amount", pa.array(found.amount))):
            table = table.append_column(name, column)
        return table

    def users_of_cells(self, keys: Integers) -> Integers:
        """How many users each of these cells (ascending) has; 0 where they are not asked for."""
        return np.zeros(len(keys), np.int64) if self.users is None else self.users.counts(keys)

    def users_of_groups(self, groups: Integers) -> Integers:
        """The same of groups."""
        if self.users is None:
            return np.zeros(len(groups), np.int64)
        return self.users.counts_by_group(groups, self.plan.buckets)

    def _labelled(self, groups: Integers) -> list[pa.Array]:
        """The tags of groups as they are shown."""
        columns = []
        for tags in self.groups.tags() if self.plan.by else ():
            shown = tags if self.keep is None else pa.concat_arrays([tags[: self.keep], pa.array([OTHER])])
            columns.append(shown.take(pa.array(groups)))
        return columns

    def _ranking(self) -> pa.Table:
        """How many events the groups have that are not answered for by themselves."""
        first = len(self.group_events) if self.cells is not None else 0
        if self.keep is not None:
            first = min(self.keep, len(self.group_events))
        groups = np.arange(first, len(self.group_events))
        tags = [tags.take(pa.array(groups)) for tags in self.groups.tags()] if self.plan.by else []
        nothing = np.zeros(len(groups), np.int64)
        return _table(tags, np.full(len(groups), RANK), self.group_events[first:], nothing)

    def stats(self) -> ScanStats:
        return ScanStats(self.skipped[False], self.skipped[True], self.rows, self.bytes)


def _rows_at(record: pa.RecordBatch, rows: Integers, columns: list[str]) -> pa.RecordBatch:
    indices = pa.array(rows)
    return pa.RecordBatch.from_arrays([record.column(name).take(indices) for name in columns], names=columns)


def _joined(pieces: list[Integers]) -> Integers:
    return np.concatenate(pieces).astype(np.int64) if pieces else np.zeros(0, np.int64)


def _table(by: list[pa.Array], buckets: Integers, events: Integers, users: Integers) -> pa.Table:
    names = [f"by_{at}" for at in range(len(by))] + ["bucket", "events", "users"]
    return pa.table([*by, pa.array(buckets.astype(np.int32)), pa.array(events), pa.array(users)], names=names)
