"""Which rows of a user decide what a scan makes of that user: all others may stay where they are. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.scan import Bools
from evenshard.queries.browse_plan import SchemaScan, TimelineScan
from evenshard.queries.cohort_model import cohorts_named
from evenshard.queries.cohort_plan import DidScan, ReachedScan
from evenshard.queries.evaluate import evaluate
from evenshard.queries.expression import names_in, parse
from evenshard.queries.expression_model import Comparison, Expression
from evenshard.queries.flows_plan import FlowsScan
from evenshard.queries.measures import OF_USERS
from evenshard.queries.plan import FunnelScan, SegmentationScan
from evenshard.queries.retention_plan import RetentionScan
from evenshard.queries.steps import Step
from evenshard.queries.values import encoded

Scan = SegmentationScan | FunnelScan | RetentionScan | FlowsScan | SchemaScan | TimelineScan | DidScan | ReachedScan


@dataclass(frozen=True, slots=True)
class Matching:
    """Rows by name and filter."""

    events: tuple[str, ...] = ()
    """Any of them; none: any event."""
    where: Expression | None = None

    def rows(self, record: pa.RecordBatch) -> pa.RecordBatch:
        """Those that match."""
        if self.events and record.num_rows:
            codes, names = encoded(record.column("event"))
            wanted = pc.is_in(names, value_set=pa.array(self.events, names.type)).to_numpy(zero_copy_only=False)
            record = picked(record, wanted[codes])
        if self.where is not None and record.num_rows:
            record = picked(record, evaluate(self.where, record))
        return record


def picked(record: pa.RecordBatch, rows: Bools) -> pa.RecordBatch:
    """Some rows, copied; all of them are the record itself."""
    return record if rows.all() else record.take(pa.array(np.flatnonzero(rows)))


def follows_users(plan: Scan) -> bool:
    """Whether it matters which rows are of one user, cohorts apart."""
    match plan:
        case SegmentationScan(measure=measure):
            return measure in OF_USERS
        case SchemaScan() | TimelineScan():
            return False
    return True


def matching_rows(plan: Scan) -> Matching:
    """The rows that ``plan`` looks at to follow users."""
    match plan:
        case SegmentationScan(events=events, where=where):
            return _matching(events, where)
        case FunnelScan():
            return _of_funnel(plan)
        case ReachedScan(funnel=funnel):
            return _of_funnel(funnel)
        case RetentionScan(birth=birth, returning=returning, where=where):
            return _matching(_names((birth, returning)), where)
        case FlowsScan(window_ms=window_ms, where=where):
            return _matching((), where if window_ms >= 0 else "")  # a session is a run of all events
        case DidScan(did=did, steps=steps):
            return _matching(_names(steps) if did else (), "")  # without anything they did any event makes a member
        case TimelineScan(user=user):
            return Matching(where=Comparison("$distinct_id", "==", user))
        case SchemaScan():
            return Matching()


def _of_funnel(plan: FunnelScan) -> Matching:
    if plan.count_mode == "session":
        return Matching()  # it is a run of all events
    if plan.order == "strict":
        return _matching((), plan.where)  # any event breaks it
    return _matching(_names((*plan.steps, *(each.step for each in plan.exclusions))), plan.where)


def _matching(events: tuple[str, ...], where: str) -> Matching:
    """Who belongs to a cohort is known only where all rows of a user meet: such a filter passes everything."""
    filtered = parse(where) if where else None
    if filtered is not None and cohorts_named(sorted(names_in(filtered))):
        filtered = None
    return Matching(events, filtered)


def _names(steps: Iterable[Step]) -> tuple[str, ...]:
    """Of all steps; none where one is any event."""
    named = [step.events for step in steps]
    return tuple(dict.fromkeys(name for names in named for name in names)) if all(named) else ()
