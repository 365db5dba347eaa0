"""Who belongs to a cohort, on a shard; and rows that say of their users whether they do.

**Partial** of both scans: ``user`` (utf8): distinct_ids, each once. All of a user's events are on one shard, so who
belongs is known there, and membership is a bool of each row like any property: false for nobody's events.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.errors import EvenshardError
from evenshard.events.batch import property_column
from evenshard.events.scan import ScannedRows, duplicates_of
from evenshard.queries.cohort_plan import DidScan, ReachedScan
from evenshard.queries.expression import COHORT_PREFIX
from evenshard.queries.funnel import users_reaching
from evenshard.queries.groups import Integers
from evenshard.queries.plan import ScanStats
from evenshard.queries.step_masks import StepMatcher, columns_of_steps
from evenshard.queries.user_codes import number_users, user_codes

USERS_MAX: Final = 16_000_000
"""Users of one shard that a cohort looks at."""


def columns_of(plan: DidScan) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The fields and the properties a scan reads."""
    fields, properties = columns_of_steps(plan.steps, "", ())
    return tuple(sorted(fields | {"time", "distinct_id"})), tuple(sorted(properties))


def scan_did(plan: DidScan, rows: Iterable[ScannedRows]) -> tuple[pa.Table, ScanStats]:
    """Goes once through ``rows`` and returns the partial and the account of the scan."""
    running = _Did(plan)
    for some in rows:
        running.add(some)
    return pa.table({"user": running.members()}), ScanStats(rows_scanned=running.rows, bytes_scanned=running.bytes)


def scan_reached(plan: ReachedScan, rows: Iterable[ScannedRows]) -> tuple[pa.Table, ScanStats]:
    """Goes once through ``rows`` and returns the partial and the account of the scan."""
    users, stats = users_reaching(plan.funnel, plan.reached, rows)
    return pa.table({"user": users}), ScanStats(rows_scanned=stats.rows_scanned, bytes_scanned=stats.bytes_scanned)


class _Did:
    """The state of one pass: for each piece its users and how often each matched each step."""

    def __init__(self, plan: DidScan) -> None:
        self.plan = plan
        self.matcher = StepMatcher(enumerate(plan.steps))
        self.ids: list[pa.Array] = []
        self.counts: list[Integers] = []
        self.held = 0
        self.rows = 0
        self.bytes = 0

    def add(self, some: ScannedRows) -> None:
        record = some.record
        self.rows += record.num_rows
        self.bytes += some.bytes_read
        kept = np.ones(record.num_rows, np.bool_)
        if self.plan.skip_duplicates and (duplicate := duplicates_of(record)) is not None:
            kept &= ~duplicate
        if len(self.plan.ranges_ms) > 2:
            times = record.column("time").to_numpy()
            kept &= np.searchsorted(np.array(self.plan.ranges_ms), times, "right") % 2 == 1
        if not kept.any():
            return
        masks = self.matcher.masks(record)[kept]
        codes, ids = user_codes(record.column("distinct_id"))
        used, places = np.unique(codes[kept], return_inverse=True)
        counts = np.zeros((len(used), len(self.plan.steps)), np.int64)
        for step in range(len(self.plan.steps)):
            counts[:, step] = np.bincount(places[masks >> np.uint64(step) & np.uint64(1) != 0], minlength=len(used))
        self.ids.append(ids.take(pa.array(used)).cast(pa.utf8()))
        self.counts.append(counts)
        self.held += len(used)
        if self.held > max(USERS_MAX, 2 * len(self.ids[0])):
            self._put_together()
            if self.held > USERS_MAX:
                raise EvenshardError(
                    "QUERY_INVALID",
                    f"more than {USERS_MAX} users of a shard may belong to a cohort",
                    hint="define it over fewer days",
                )

    def _put_together(self) -> None:
        """Each user once."""
        if not self.ids:
            return
        numbers, ids = number_users(self.ids)
        counts = np.zeros((len(ids), len(self.plan.steps)), np.int64)
        np.add.at(counts, np.concatenate(numbers), np.concatenate(self.counts))
        self.ids, self.counts, self.held = [ids], [counts], len(ids)

    def members(self) -> pa.Array:
        """Those for whom all holds."""
        self._put_together()
        if not self.ids:
            return pa.array([], pa.utf8())
        ids, counts = self.ids[0], self.counts[0]
        belongs = pc.not_equal(ids, "").to_numpy(zero_copy_only=False)
        least = [at_least for _, at_least in self.plan.did]
        belongs = belongs & (counts[:, : len(least)] >= np.array(least, np.int64)).all(axis=1)
        belongs &= (counts[:, len(least) :] == 0).all(axis=1)
        return ids.filter(pa.array(belongs))


def in_all(found: list[pa.Array]) -> pa.Array:
    """Users whom every scan of a cohort found."""
    users = found[0]
    for others in found[1:]:
        users = users.filter(pc.is_in(users, value_set=others))
    return users


def marked(rows: Iterable[ScannedRows], members: Mapping[str, pa.Array]) -> Iterator[ScannedRows]:
    """The rows with a bool property for each cohort: whether their user belongs to it."""
    for some in rows:
        record = some.record
        codes, ids = user_codes(record.column("distinct_id"))
        for name, users in members.items():
            belongs = pc.is_in(ids.cast(pa.utf8()), value_set=users).to_numpy(zero_copy_only=False)
            column = property_column(COHORT_PREFIX + name, "b")
            if column in record.schema.names:  # a property that only looks like one
                record = record.drop_columns([column])
            record = record.append_column(column, pa.array(belongs[codes]))
        yield replace(some, record=record)
