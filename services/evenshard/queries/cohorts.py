"""Who belongs to a cohort, on a shard; and rows that say of their users whether they do.

All of a user's events come to one scan, so who belongs is known there, and membership is a bool of each row like any
property: false for nobody's events.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.errors import EvenshardError
from evenshard.events.batch import property_column
from evenshard.events.scan import Bools, Part, Parts, ScannedRows
from evenshard.events.user_runs import UserRuns
from evenshard.queries.cohort_kernel import count_steps, mark_rows
from evenshard.queries.cohort_plan import DidScan, ReachedScan
from evenshard.queries.columns import Columns
from evenshard.queries.expression import COHORT_PREFIX
from evenshard.queries.funnel import users_reaching
from evenshard.queries.members import Members
from evenshard.queries.plan import ScanStats
from evenshard.queries.step_masks import StepMatcher, columns_of_steps
from evenshard.queries.user_chunks import UserChunks
from evenshard.queries.user_codes import user_codes
from evenshard.queries.user_rows import Int64, Matched, UserRows

USERS_MAX: Final = 16_000_000
"""Users of one shard that belong to a cohort."""
_NONE32: Final = np.zeros(0, np.int32)


def columns_of(plan: DidScan) -> Columns:
    """What a scan reads."""
    fields, properties = columns_of_steps(plan.steps, "", ())
    return Columns.of(fields | {"time"}, properties, users=True)


def members_of(plan: DidScan | ReachedScan, parts: Parts, check: Callable[[], None]) -> tuple[Members, ScanStats]:
    """The users whom one scan of a cohort finds, and the account of the scan. ``check`` raises if nobody waits any
    more. Raises ``QUERY_INVALID`` for more users than can be held."""
    if isinstance(plan, ReachedScan):
        members, stats = users_reaching(plan.funnel, plan.reached, parts, check)
    else:
        running = _Did(plan)
        chunks = UserChunks(running.choose, np.uint64, skip_duplicates=plan.skip_duplicates, check=check)
        members, stats = chunks.members([running.members(rows) for rows in chunks.of(parts)]), chunks.stats()
    return members, ScanStats(rows_scanned=stats.rows_scanned, bytes_scanned=stats.bytes_scanned)


class _Did:
    """Counts how often users matched each step."""

    def __init__(self, plan: DidScan) -> None:
        self.plan = plan
        self.matcher = StepMatcher(enumerate(plan.steps))
        self.ranges = np.array(plan.ranges_ms, np.int64)
        self.found = 0

    def choose(self, some: ScannedRows) -> Matched:
        """What each row within the ranges matches."""
        choice = self.matcher.choice(some.record)
        if len(self.ranges) == 2:
            return Matched(choice, None)
        times = some.record.column("time").to_numpy()
        return Matched(choice, np.searchsorted(self.ranges, times, "right") % 2 == 1)

    def members(self, rows: UserRows) -> Int64:
        """The numbers of those for whom all holds."""
        counts = np.zeros((len(rows.starts) - 1, len(self.plan.steps)), np.int64)
        count_steps(rows.starts, rows.masks, counts)
        least = [at_least for _, at_least in self.plan.did]
        belongs = np.diff(rows.starts) > 0
        belongs &= (counts[:, : len(least)] >= np.array(least, np.int64)).all(axis=1)
        belongs &= (counts[:, len(least) :] == 0).all(axis=1)
        found: Int64 = rows.first + np.flatnonzero(belongs)
        self.found += len(found)
        if self.found > USERS_MAX:
            raise EvenshardError(
                "QUERY_INVALID",
                f"more than {USERS_MAX} users of a shard belong to a cohort",
                hint="define it over fewer days",
            )
        return found


def marked(rows: Parts | Iterable[ScannedRows], members: Mapping[str, Members]) -> Parts | Iterator[ScannedRows]:
    """The rows with a bool property for each cohort: whether their user belongs to it."""
    ids = {name: users.ids() for name, users in members.items()}

    def by_ids(some: ScannedRows) -> ScannedRows:
        codes, found = user_codes(some.record.column("distinct_id"))
        found = found.cast(pa.utf8())
        return _with_bools(
            some,
            {name: pc.is_in(found, value_set=mine).to_numpy(zero_copy_only=False)[codes] for name, mine in ids.items()},
        )

    if not isinstance(rows, Parts):
        return map(by_ids, rows)
    belonging = {name: users.among(rows.people) for name, users in members.items()}

    def read(part: Part) -> ScannedRows:
        some = part.read()
        if part.users is None:
            return by_ids(some)
        return _with_bools(
            some, {name: _of_runs(part.users, some.record.num_rows, mine) for name, mine in belonging.items()}
        )

    return replace(rows, parts=[replace(part, read=partial(read, part)) for part in rows.parts])


def _of_runs(users: UserRuns, rows: int, belongs: Bools) -> Bools:
    found = np.zeros(rows, np.bool_)
    mark_rows(users.starts, users.ends, users.numbers, _NONE32 if users.order is None else users.order, belongs, found)
    return found


def _with_bools(some: ScannedRows, properties: Mapping[str, Bools]) -> ScannedRows:
    record = some.record
    for name, values in properties.items():
        column = property_column(COHORT_PREFIX + name, "b")
        if column in record.schema.names:  # a property that only looks like one
            record = record.drop_columns([column])
        record = record.append_column(column, pa.array(values))
    return replace(some, record=record)
