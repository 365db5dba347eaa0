"""A retention on a shard: one pass over rows, then a kernel over each user's; the result is a table that adds up.

**Partial**: ``by_0`` … (utf8, the tags of a group, by the values of the birth event), ``cohort`` (int32), ``bucket``
(int32, ``BORN``: the birth itself) and ``users`` (int64): how many returned in that bucket; with ``on_or_after`` whose
last it is. All of a user's events are on one shard, so the partials of shards simply add.

Duplicates skipped are those that match the birth or the return. Before the range only births are looked at.
"""

from collections.abc import Iterable
from typing import Final

import numpy as np
import pyarrow as pa

from evenshard.events.scan import ScannedRows, duplicates_of
from evenshard.queries.counting import counted
from evenshard.queries.evaluate import evaluate
from evenshard.queries.expression import parse
from evenshard.queries.groups import Groups, Integers
from evenshard.queries.plan import ScanStats
from evenshard.queries.retention_kernel import BIRTH, retention_cells
from evenshard.queries.retention_plan import RetentionScan
from evenshard.queries.step_masks import StepMatcher, columns_of_steps
from evenshard.queries.user_rows import Masks, UserRowGatherer, UserRows
from evenshard.queries.values import NULL_TAG, columns_holding

BORN: Final = -1
_GROUP: Final = "group"
_NO_GROUP: Final = 0


def columns_of(plan: RetentionScan) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The fields and the properties a scan reads."""
    fields, properties = columns_of_steps((plan.birth, plan.returning), plan.where, plan.by)
    fields |= {"time", "distinct_id"}
    if _birth_matters(plan):
        fields |= {"event", "insert_id"}
    return tuple(sorted(fields)), tuple(sorted(properties))


def scan_rows(plan: RetentionScan, rows: Iterable[ScannedRows]) -> tuple[pa.Table, ScanStats]:
    """Goes once through ``rows`` and returns the partial and the account of the scan.

    Raises ``QUERY_INVALID`` for more groups or rows than can be held.
    """
    running = _Scan(plan)
    for some in rows:
        running.add(some)
    return running.partial(), running.stats()


def _birth_matters(plan: RetentionScan) -> bool:
    """Whether it matters which of several births of one ms it is: for its values, or as it might be a return."""
    every_birth_returns = plan.returning in (plan.birth, type(plan.birth)(()))
    return bool(plan.by) or not every_birth_returns


class _Scan:
    """The state of one pass: the rows that match, see ``UserRowGatherer``."""

    def __init__(self, plan: RetentionScan) -> None:
        self.plan = plan
        self.where = parse(plan.where) if plan.where else None
        self.matcher = StepMatcher(enumerate((plan.birth, plan.returning)))
        self.groups = Groups(plan.by)
        if plan.by:
            self.groups.add(((NULL_TAG,) * len(plan.by),))
        self.needed = ["time", "distinct_id", *(["event", "insert_id"] if _birth_matters(plan) else [])]
        self.gatherer = UserRowGatherer(
            self._codes_of if plan.by else None, "shared" if _birth_matters(plan) else "any", int(BIRTH)
        )
        self.skipped = {True: 0, False: 0}
        self.rows = 0
        self.bytes = 0

    def add(self, some: ScannedRows) -> None:
        record = some.record
        self.rows += record.num_rows
        self.bytes += some.bytes_read
        masks = self.matcher.masks(record)
        if self.plan.lifetime:
            masks[record.column("time").to_numpy() < self.plan.births_ms[0]] &= BIRTH
        if self.where is not None and masks.any():
            masks[~evaluate(self.where, record)] = 0
        if self.plan.skip_duplicates:
            duplicate = duplicates_of(record)
            if duplicate is not None:
                self.skipped[some.indexed] += int(np.count_nonzero(masks[duplicate]))
                masks[duplicate] = 0
        if not masks.any():
            return
        held = columns_holding(self.plan.by, record.schema.names)
        self.gatherer.add(record.select([*self.needed, *(name for name in held if name not in self.needed)]), masks)

    def _codes_of(self, record: pa.RecordBatch, masks: Masks) -> dict[str, Integers]:
        """The group of each row that may be a birth."""
        groups: Integers = np.full(len(masks), _NO_GROUP, np.int32)
        births = masks & BIRTH != 0
        shown = record.select(columns_holding(self.plan.by, record.schema.names))
        if shown.num_columns and births.any():
            shown = shown if births.all() else shown.take(pa.array(np.flatnonzero(births)))
            groups[births] = self.groups.number(shown)
        return {_GROUP: groups}

    def partial(self) -> pa.Table:
        """What the pass found."""
        plan = self.plan
        keys, users = counted(self._cells(self.gatherer.gathered()))
        width = plan.buckets + 1
        groups = keys // (width * plan.cohorts) if plan.cohorts else keys
        tags = self.groups.tags() if plan.by else []
        columns = {f"by_{at}": each.take(pa.array(groups)) for at, each in enumerate(tags)}
        columns["cohort"] = pa.array((keys // width % max(1, plan.cohorts)).astype(np.int32))
        columns["bucket"] = pa.array((keys % width + BORN).astype(np.int32))
        columns["users"] = pa.array(users)
        return pa.table(columns)

    def _cells(self, rows: UserRows) -> Integers:
        """See ``retention_cells``."""
        plan = self.plan
        cells = np.empty(len(rows.times), np.int64)
        intervals = (plan.births_ms, plan.cohort_of, plan.units_ms, plan.unit_of, plan.cohort_units)
        count = retention_cells(
            rows.starts,
            rows.times,
            rows.masks,
            rows.codes.get(_GROUP, np.zeros(0, np.int32)),
            *(np.array(each, np.int64) for each in intervals),
            plan.unit_ms,
            plan.buckets,
            plan.on_or_after,
            plan.lifetime,
            cells,
        )
        return cells[:count]

    def stats(self) -> ScanStats:
        return ScanStats(self.skipped[False], self.skipped[True], self.rows, self.bytes)
