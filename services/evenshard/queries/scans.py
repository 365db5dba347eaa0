"""A scan is what a gateway asks of one shard: JSON in, a partial answer (an Arrow IPC stream) out.

The gateway's planner writes it with everything decided: bucket boundaries are instants, so a shard knows no time
zones. A shard asks ``columns_needed`` what to read, reads it, and gives the rows to ``run``.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple

import pyarrow as pa

from evenshard.errors import EvenshardError
from evenshard.events.scan import Parts, ScannedRows
from evenshard.queries import (
    cohorts,
    flows,
    funnel,
    funnel_plain,
    retention,
    schema,
    segmentation,
    segmentation_parts,
    segmentation_users,
    timeline,
)
from evenshard.queries.browse_plan import SchemaScan, TimelineScan
from evenshard.queries.cohort_model import cohorts_named
from evenshard.queries.cohort_plan import DidScan, ReachedScan
from evenshard.queries.columns import Columns
from evenshard.queries.expression import COHORT_PREFIX, names_in, parse
from evenshard.queries.expression_model import Comparison, Expression, Membership
from evenshard.queries.flows_plan import FlowsScan
from evenshard.queries.measures import OF_USERS
from evenshard.queries.members import Members, in_all
from evenshard.queries.names import Watch, asked
from evenshard.queries.partials import PARTIAL_BYTES_MAX, write_partial
from evenshard.queries.plan import FunnelScan, ScanStats, SegmentationScan, add_stats
from evenshard.queries.pruning import RowsThatMatter
from evenshard.queries.retention_plan import RetentionScan
from evenshard.queries.rows_that_matter import Scan, rows_that_matter
from evenshard.queries.scan_plans import KNOWN_BYTES_MAX, KNOWN_PLANS, plan_of, unwrapped
from evenshard.queries.segmentation_parts import clock_for

Rows = Parts | Iterable[ScannedRows]


class ColumnsNeeded(NamedTuple):
    """What a scan reads."""

    fields: tuple[str, ...]
    """Of ``event``, ``distinct_id``, ``time``, ``insert_id``."""
    properties: tuple[str, ...] | None
    """Names of properties, all their types; None: all there are."""
    start_ms: int
    end_ms: int
    """Half-open."""
    users: bool
    """Whose the rows are: of rows that come without users, ``distinct_id`` besides ``fields``."""
    late: tuple[str, ...] = ()
    """Fields beyond ``fields`` that are read where it comes to that."""

    @property
    def fields_without_users(self) -> tuple[str, ...]:
        """Of rows of which it is not known whose they are, and no more can be read."""
        whose = {"distinct_id"} if self.users else set()
        return tuple(sorted({*self.fields, *self.late, *whose}))


def columns_needed(scan: bytes) -> ColumnsNeeded:
    """What to read for ``scan``. Raises ``QUERY_INVALID`` for one that cannot be read."""
    plan = plan_of(scan)
    found = _columns_of(plan)
    properties, users = found.properties, found.users
    if cohorts_needed(scan):
        users = True
        properties = properties and tuple(name for name in properties if not name.startswith(COHORT_PREFIX))
    return ColumnsNeeded(found.fields, properties, plan.start_ms, plan.end_ms, users, found.late)


def cohorts_needed(scan: bytes) -> tuple[str, ...]:
    """The names of cohorts that a scan looks at itself. Raises ``QUERY_INVALID``."""
    return _known_cohorts(scan) if len(scan) <= KNOWN_BYTES_MAX else _cohorts(scan)


@lru_cache(KNOWN_PLANS)
def _known_cohorts(scan: bytes) -> tuple[str, ...]:
    return _cohorts(scan)


def _cohorts(scan: bytes) -> tuple[str, ...]:
    plan = plan_of(scan)
    if isinstance(plan, TimelineScan):
        return tuple(cohorts_named(sorted(names_in(parse(plan.where))))) if plan.where else ()
    return tuple(cohorts_named(_columns_of(plan).properties or ()))


def copies_are_only_counted(scan: bytes) -> bool:
    """Whether duplicates change nothing but how many of them were skipped, whoever they are of."""
    return plan_of(scan).skip_duplicates and not cohorts_needed(scan)


def rows_needed(scan: bytes) -> RowsThatMatter | None:
    """The rows that may change the partial of ``scan``; None: any may. Raises ``QUERY_INVALID``."""
    return rows_that_matter(plan_of(scan))


def _columns_of(plan: Scan) -> Columns:
    """What a scan looks at, cohorts among the properties."""
    match plan:
        case SegmentationScan():
            return segmentation.columns_of(plan, numbered=plan.measure in OF_USERS and clock_for(plan) is not None)
        case FunnelScan():
            return funnel.columns_of(plan)
        case RetentionScan():
            return retention.columns_of(plan)
        case FlowsScan():
            return flows.columns_of(plan)
        case SchemaScan():
            return Columns(*schema.columns_of(plan))
        case TimelineScan():
            return Columns(*timeline.columns_of(plan))
        case DidScan():
            return cohorts.columns_of(plan)
        case ReachedScan():
            return funnel.columns_of(plan.funnel)


def scans_within(scan: bytes) -> list[bytes]:
    """The scan itself, and those of the cohorts it needs, in the order in which they run."""
    scan, needed = unwrapped(scan)
    return [*(one for cohort in needed for one in cohort.scans), scan]


def concerns_users(scan: bytes) -> bool:
    """Whether it matters to ``scan`` which rows are of one user; else rows add up wherever they are."""
    match plan_of(scan):
        case SegmentationScan(measure=measure) if measure in OF_USERS:
            return True
        case SegmentationScan() | SchemaScan() | TimelineScan():
            return bool(cohorts_needed(scan))
    return True


def deciding(scan: bytes) -> Expression | None:
    """Which rows of a user decide what ``scan`` makes of that user; None: any may. Who belongs to a cohort is known
    only where they meet: then names alone choose."""
    plan = plan_of(scan)
    if isinstance(plan, TimelineScan):
        return Comparison("$distinct_id", "==", plan.user)
    matter = rows_that_matter(plan)
    if matter is None:
        return None
    if not cohorts_needed(scan):
        return matter.condition
    return Membership("$event", True, matter.events) if matter.events else None


def events_of(scan: bytes) -> tuple[str, ...]:
    """The names of events that ``scan`` asks for. Raises ``QUERY_INVALID``."""
    match plan_of(scan):
        case SegmentationScan(events=events):
            return events
        case FunnelScan(steps=steps, exclusions=exclusions):
            asked_for = [*steps, *(each.step for each in exclusions)]
        case RetentionScan(birth=birth, returning=returning):
            asked_for = [birth, returning]
        case FlowsScan(anchor=anchor):
            asked_for = [anchor]
        case SchemaScan() | TimelineScan() | DidScan() | ReachedScan():
            return ()
    return tuple(dict.fromkeys(name for step in asked_for for name in step.events))


def run(scan: bytes, rows: Rows, check: Callable[[], None] = lambda: None) -> tuple[bytes, ScanStats]:
    """As ``run_with_cohorts``, of a scan that needs none, over ``rows``."""
    return run_with_cohorts(scan, lambda _: rows, check)


def run_with_cohorts(
    scan: bytes,
    read: Callable[[bytes], Rows],
    check: Callable[[], None] = lambda: None,
    without_split: Callable[[bytes, Rows], Rows] = lambda _, rows: rows,
) -> tuple[bytes, ScanStats]:
    """Goes once through the rows of a scan, and returns the partial and the account of the scan; of one that needs
    cohorts, who belongs is found first, by scans of their own.

    Long computation: call it in a thread; ``check`` is called every now and then and may raise to end it. ``read``
    gives the rows of one scan, with ``columns_needed``; ``without_split`` those of a scan that count here. Raises
    ``QUERY_INVALID`` where the answer would exceed a bound.
    """
    scan, needed = unwrapped(scan)
    members: dict[str, Members] = {}
    spent: list[ScanStats] = []

    def counted(one: bytes, rows: Rows) -> Rows:
        rows = without_split(one, rows)
        mine = {name: members[name] for name in cohorts_needed(one) if name in members}
        return cohorts.marked(rows, mine) if mine else rows

    for cohort in needed:
        found = []
        for one in cohort.scans:
            users, stats = cohorts.members_of(_cohort_scan(one), Parts.of(counted(one, read(one))), check)
            found.append(users)
            spent.append(stats)
        members[cohort.name] = in_all(found)
    rows = read(scan)
    watch = Watch(asked(events_of(scan), columns_needed(scan).properties))
    table, stats = _table_of(scan, counted(scan, watch.over(rows)), check)
    if isinstance(rows, Parts) and not isinstance(plan_of(scan), DidScan | ReachedScan):
        seen_rows, seen_bytes = watch.look_among(rows.passed_over, check)
        spent.append(ScanStats(rows_scanned=seen_rows, bytes_scanned=seen_bytes))
    partial = write_partial(watch.noted(table))
    if len(partial) > PARTIAL_BYTES_MAX:
        raise EvenshardError(
            "QUERY_INVALID",
            f"a shard's part of the answer has {len(partial)} bytes, more than {PARTIAL_BYTES_MAX}",
            hint="ask for fewer days, a shorter window, or filter with where",
        )
    return partial, add_stats([stats, *spent])


def _table_of(scan: bytes, rows: Rows, check: Callable[[], None]) -> tuple[pa.Table, ScanStats]:
    plan = plan_of(scan)
    match plan:
        case SegmentationScan(measure=measure) if measure in OF_USERS and (clock := clock_for(plan)) is not None:
            table, stats = segmentation_users.scan_parts(plan, clock, Parts.of(rows), check)
        case SegmentationScan() if (clock := clock_for(plan)) is not None:
            table, stats = segmentation_parts.scan_parts(plan, clock, Parts.of(rows), check)
        case SegmentationScan():
            table, stats = segmentation.scan_rows(plan, _rows(rows, check))
        case FunnelScan() if plan.is_plain:
            table, stats = funnel_plain.scan_parts(plan, Parts.of(rows), check)
        case FunnelScan():
            table, stats = funnel.scan_parts(plan, Parts.of(rows), check)
        case SchemaScan():
            table, stats = schema.scan_rows(plan, _rows(rows, check))
        case TimelineScan():
            table, stats = timeline.scan_rows(plan, _rows(rows, check))
        case RetentionScan():
            table, stats = retention.scan_parts(plan, Parts.of(rows), check)
        case FlowsScan():
            table, stats = flows.scan_parts(plan, Parts.of(rows), check)
        case DidScan() | ReachedScan():
            users, stats = cohorts.members_of(plan, Parts.of(rows), check)
            table = pa.table({"user": users.ids()})
    return table, stats


def _rows(rows: Rows, check: Callable[[], None]) -> Iterable[ScannedRows]:
    """Only rows that are meant."""
    for some in (part.read() for part in rows.parts) if isinstance(rows, Parts) else rows:
        check()
        kept = some.kept()
        if kept.record.num_rows:
            yield kept


def _cohort_scan(scan: bytes) -> DidScan | ReachedScan:
    plan = plan_of(scan)
    if not isinstance(plan, DidScan | ReachedScan):
        raise EvenshardError("QUERY_INVALID", "a cohort's scan finds no users")
    return plan
