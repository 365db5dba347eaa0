"""A retention on a shard: one pass over rows, then a kernel over each user's; the result is a table that adds up.

**Partial**: ``by_0`` … (utf8, the tags of a group, by the values of the birth event), ``cohort`` (int32), ``bucket``
(int32, ``BORN``: the birth itself) and ``users`` (int64): how many returned in that bucket; with ``on_or_after`` whose
last it is. All of a user's events come to one scan, so the partials of shards simply add.

Duplicates skipped are those that match the birth or the return. Before the range only births are looked at.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import pyarrow as pa

from evenshard.events.scan import Parts, ScannedRows
from evenshard.queries.cells import CellCounts
from evenshard.queries.columns import Columns
from evenshard.queries.counting import counted
from evenshard.queries.groups import Groups, groups_of_rows
from evenshard.queries.plan import ScanStats
from evenshard.queries.retention_kernel import BIRTH, retention_cells
from evenshard.queries.retention_plan import RetentionScan
from evenshard.queries.step_masks import StepMatcher, columns_of_steps, masks_of, matches_any
from evenshard.queries.user_chunks import follow_users
from evenshard.queries.user_rows import Choice, Int32, Needs, UserRows, Valued, Wanted
from evenshard.queries.values import NULL_TAG

BORN: Final = -1
_GROUP: Final = "group"
_NO_GROUP: Final = 0
_NONE32: Final = np.zeros(0, np.int32)


def columns_of(plan: RetentionScan) -> Columns:
    """What a scan reads."""
    fields, properties = columns_of_steps((plan.birth, plan.returning), plan.where, plan.by)
    late = {"event", "insert_id"} if _birth_matters(plan) else set()
    return Columns.of(fields | {"time"}, properties, late=late, users=True)


def scan_parts(plan: RetentionScan, parts: Parts, check: Callable[[], None]) -> tuple[pa.Table, ScanStats]:
    """The partial and the account. ``check`` raises if nobody waits any more.

    Raises ``QUERY_INVALID`` for more groups or rows than can be held.
    """
    return follow_users(_Scan(plan), np.uint8, parts, check, skip_duplicates=plan.skip_duplicates)


def nothing(plan: RetentionScan) -> pa.Table:
    """The partial of no rows."""
    return scan_parts(plan, Parts([]), lambda: None)[0]


def _birth_matters(plan: RetentionScan) -> bool:
    """Whether it matters which of several births of one ms it is: for its values, or as it might be a return."""
    every_birth_returns = plan.returning in (plan.birth, type(plan.birth)(()))
    return bool(plan.by) or not every_birth_returns


class _Scan:
    """The state of one pass: how many users each cell has."""

    def __init__(self, plan: RetentionScan) -> None:
        self.plan = plan
        self.matcher = StepMatcher(enumerate((plan.birth, plan.returning)), plan.where, np.uint8)
        self.groups = Groups(plan.by)
        if plan.by:
            self.groups.add(((NULL_TAG,) * len(plan.by),))
        self.needs = Needs(
            self._codes_of if plan.by else None,
            "shared" if _birth_matters(plan) else "any",
            int(BIRTH),
            opens=lambda masks: masks & BIRTH != 0,
        )
        intervals = (plan.births_ms, plan.cohort_of, plan.units_ms, plan.unit_of, plan.cohort_units)
        self.intervals = tuple(np.array(each, np.int64) for each in intervals)
        self.seen = np.empty(plan.buckets, np.int64)
        self.cells = CellCounts()

    def choose(self, some: ScannedRows) -> Choice | None:
        """What each row may be."""
        choice = self.matcher.choice(some.record)
        if self.plan.lifetime and some.record.num_rows:
            before = some.record.column("time").to_numpy() < self.plan.births_ms[0]
            if before.any():
                choice = masks_of(choice)
                choice[before] &= BIRTH
        return choice if matches_any(choice) else None

    def _codes_of(self, record: pa.RecordBatch, wanted: Wanted) -> dict[str, Int32 | Valued]:
        """The group of each row that may be a birth."""
        return {_GROUP: groups_of_rows(self.groups, record, lambda: wanted.rows(int(BIRTH)), _NO_GROUP)}

    def follow(self, rows: UserRows) -> None:
        """Follows each user; see ``retention_cells``."""
        plan = self.plan
        cells = np.empty(len(rows.times), np.int64)
        count = retention_cells(
            rows.starts,
            rows.times,
            rows.masks,
            rows.codes.get(_GROUP, _NONE32),
            *self.intervals,
            plan.unit_ms,
            plan.buckets,
            plan.on_or_after,
            plan.lifetime,
            self.seen,
            cells,
        )
        self.cells.add(*counted(cells[:count]))

    def partial(self) -> pa.Table:
        """What the pass found."""
        plan = self.plan
        keys, users = self.cells.sums()
        width = plan.buckets + 1
        groups = keys // (width * plan.cohorts) if plan.cohorts else keys
        tags = self.groups.tags() if plan.by else []
        columns = {f"by_{at}": each.take(pa.array(groups)) for at, each in enumerate(tags)}
        columns["cohort"] = pa.array((keys // width % max(1, plan.cohorts)).astype(np.int32))
        columns["bucket"] = pa.array((keys % width + BORN).astype(np.int32))
        columns["users"] = pa.array(users)
        return pa.table(columns)
