"""A scan is what a gateway asks of one shard: JSON in, a partial answer (an Arrow IPC stream) out.

The gateway's planner writes it with everything decided: bucket boundaries are instants, so a shard knows no time
zones. A shard asks ``columns_needed`` what to read, reads it, and gives the rows to ``run``.
"""

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Final, NamedTuple

import orjson
import pyarrow as pa

from evenshard.errors import EvenshardError
from evenshard.events.scan import Parts, ScannedRows
from evenshard.hotkeys.restored import NOTHING_RESTORED, Restored
from evenshard.hotkeys.view import View
from evenshard.queries import (
    cohorts,
    flows,
    funnel,
    funnel_plain,
    retention,
    schema,
    segmentation,
    segmentation_parts,
    timeline,
)
from evenshard.queries.browse_plan import SchemaScan, TimelineScan
from evenshard.queries.cohort_model import cohorts_named
from evenshard.queries.cohort_plan import CohortScans, DidScan, ReachedScan, without_cohorts
from evenshard.queries.columns import Columns
from evenshard.queries.expression import COHORT_PREFIX, names_in, parse
from evenshard.queries.expression_model import Comparison, Expression, Membership
from evenshard.queries.flows_plan import FlowsScan
from evenshard.queries.measures import OF_USERS
from evenshard.queries.members import Members, in_all
from evenshard.queries.names import Watch, asked
from evenshard.queries.partials import PARTIAL_BYTES_MAX, write_partial
from evenshard.queries.plan import FunnelScan, ScanStats, SegmentationScan, add_stats, scan_of
from evenshard.queries.pruning import RowsThatMatter
from evenshard.queries.retention_plan import RetentionScan
from evenshard.queries.rows_that_matter import Scan, names_of, rows_that_matter
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
    plan = _read(scan)
    found = _columns_of(plan)
    properties, users = found.properties, found.users
    if cohorts_needed(scan):
        users = True
        properties = properties and tuple(name for name in properties if not name.startswith(COHORT_PREFIX))
    return ColumnsNeeded(found.fields, properties, plan.start_ms, plan.end_ms, users, found.late)


def cohorts_needed(scan: bytes) -> list[str]:
    """The names of cohorts that a scan looks at itself. Raises ``QUERY_INVALID``."""
    plan = _read(scan)
    if isinstance(plan, TimelineScan):
        return cohorts_named(sorted(names_in(parse(plan.where)))) if plan.where else []
    return cohorts_named(_columns_of(plan).properties or ())


def rows_needed(scan: bytes) -> RowsThatMatter | None:
    """The rows that may change the partial of ``scan``; None: any may. Raises ``QUERY_INVALID``."""
    return rows_that_matter(_read(scan))


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
    scan, needed = _unwrapped(scan)
    return [*(one for cohort in needed for one in cohort.scans), scan]


def concerns_users(scan: bytes) -> bool:
    """Whether it matters to ``scan`` which rows are of one user; else rows add up wherever they are."""
    match _read(scan):
        case SegmentationScan(measure=measure) if measure in OF_USERS:
            return True
        case SegmentationScan() | SchemaScan() | TimelineScan():
            return bool(cohorts_needed(scan))
    return True


def deciding(scan: bytes) -> Expression | None:
    """Which rows of a user decide what ``scan`` makes of that user; None: any may. Who belongs to a cohort is known
    only where they meet: then names alone choose."""
    plan = _read(scan)
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
    match _read(scan):
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


_RESTORED: Final = b'{"kind":"as_it_came","scan":'


def as_it_came(scan: bytes) -> bytes:
    """A scan that sees no event rewritten."""
    return _RESTORED + scan + b"}"


def sees_as_it_came(scan: bytes) -> bool:
    """Whether ``scan`` is one that sees no event rewritten."""
    return scan.startswith(_RESTORED)


def view_for(scan: bytes, restored: Restored | None = NOTHING_RESTORED) -> View:
    """Shows the rows read for ``scan`` as it must see them, and counts those rewritten whose original names it selects
    within its range of dates. ``restored``: see ``View``. Raises ``QUERY_INVALID``."""
    plan, needed = _read(scan), columns_needed(scan)
    match plan:
        case SegmentationScan():
            events = plan.events
            inside = [
                pair for pair, bucket in zip(pairwise(plan.bounds_ms), plan.bucket_of, strict=True) if bucket >= 0
            ]
            ranges_ms = _joined(inside)
        case FunnelScan():
            steps = [*plan.steps, *(each.step for each in plan.exclusions)]
            events = () if plan.order == "strict" else names_of(steps)  # there any event breaks it
            ranges_ms = list(zip(plan.entries_ms[::2], plan.entries_ms[1::2], strict=True))
        case SchemaScan() | TimelineScan():
            events = ()
            ranges_ms = list(zip(plan.ranges_ms[::2], plan.ranges_ms[1::2], strict=True))
        case RetentionScan():
            events = names_of((plan.birth, plan.returning))
            inside = [
                pair for pair, cohort in zip(pairwise(plan.births_ms), plan.cohort_of, strict=True) if cohort >= 0
            ]
            ranges_ms = _joined(inside)
        case FlowsScan():
            events = ()
            ranges_ms = list(zip(plan.anchors_ms[::2], plan.anchors_ms[1::2], strict=True))
        case DidScan() | ReachedScan():  # nobody asks
            events, ranges_ms = (), []
    return View(
        needed.fields_without_users,
        needed.properties,
        events=events,
        ranges_ms=ranges_ms,
        skip_duplicates=plan.skip_duplicates,
        restored=restored,
    )


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
    scan, needed = _unwrapped(scan)
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
    if isinstance(rows, Parts) and not isinstance(_read(scan), DidScan | ReachedScan):
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
    plan = _read(scan)
    match plan:
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
    plan = _read(scan)
    if not isinstance(plan, DidScan | ReachedScan):
        raise EvenshardError("QUERY_INVALID", "a cohort's scan finds no users")
    return plan


def _joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ascending ranges, those that touch joined."""
    joined: list[tuple[int, int]] = []
    for start, end in ranges:
        if joined and joined[-1][1] == start:
            joined[-1] = joined[-1][0], end
        else:
            joined.append((start, end))
    return joined


def _unwrapped(scan: bytes) -> tuple[bytes, list[CohortScans]]:
    try:
        return without_cohorts(scan[len(_RESTORED) : -1] if sees_as_it_came(scan) else scan)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise EvenshardError("QUERY_INVALID", f"the scan cannot be read: {error!r}") from error


def _read(scan: bytes) -> Scan:
    scan, _ = _unwrapped(scan)
    try:
        match orjson.loads(scan):
            case {"kind": "schema"}:
                return SchemaScan.from_json(scan)
            case {"kind": "timeline"}:
                return TimelineScan.from_json(scan)
            case {"kind": "did"}:
                return DidScan.from_json(scan)
            case {"kind": "reached"}:
                return ReachedScan.from_json(scan)
            case {"kind": "retention"}:
                return RetentionScan.from_json(scan)
            case {"kind": "flows"}:
                return FlowsScan.from_json(scan)
        return scan_of(scan)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise EvenshardError("QUERY_INVALID", f"the scan cannot be read: {error!r}") from error
