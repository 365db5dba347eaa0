"""How a scan must see the rows that are read for it: hot ones are shown as others than they are stored."""

from collections.abc import Iterable
from itertools import pairwise

from evenshard.hotkeys.restored import NOTHING_RESTORED, Restored
from evenshard.hotkeys.view import View
from evenshard.queries.browse_plan import SchemaScan, TimelineScan
from evenshard.queries.cohort_plan import DidScan, ReachedScan
from evenshard.queries.flows_plan import FlowsScan
from evenshard.queries.plan import FunnelScan, SegmentationScan
from evenshard.queries.retention_plan import RetentionScan
from evenshard.queries.rows_that_matter import names_of
from evenshard.queries.scan_plans import plan_of
from evenshard.queries.scans import columns_needed


def view_for(scan: bytes, restored: Restored | None = NOTHING_RESTORED) -> View:
    """Shows the rows read for ``scan`` as it must see them, and counts those rewritten whose original names it selects
    within its range of dates. ``restored``: see ``View``. Raises ``QUERY_INVALID``."""
    plan, needed = plan_of(scan), columns_needed(scan)
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


def _joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ascending ranges, those that touch joined."""
    joined: list[tuple[int, int]] = []
    for start, end in ranges:
        if joined and joined[-1][1] == start:
            joined[-1] = joined[-1][0], end
        else:
            joined.append((start, end))
    return joined
