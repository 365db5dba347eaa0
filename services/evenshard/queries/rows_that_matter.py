"""Which rows each kind of scan looks at, as one filter: for all others it may be told that they are not there. Pure."""

from collections.abc import Iterable, Sequence

from evenshard.queries.browse_plan import SchemaScan, TimelineScan
from evenshard.queries.cohort_plan import DidScan, ReachedScan
from evenshard.queries.expression import parse
from evenshard.queries.expression_model import All, Any, Comparison, Expression, Membership
from evenshard.queries.flows_plan import FlowsScan
from evenshard.queries.plan import FunnelScan, SegmentationScan
from evenshard.queries.pruning import RowsThatMatter
from evenshard.queries.retention_plan import RetentionScan
from evenshard.queries.steps import Step

Scan = SegmentationScan | FunnelScan | RetentionScan | FlowsScan | SchemaScan | TimelineScan | DidScan | ReachedScan


def rows_that_matter(plan: Scan) -> RowsThatMatter | None:
    """None: any row may."""
    match plan:
        case SegmentationScan():
            return _rows([_step(Step(plan.events, plan.where))], plan.events)
        case FunnelScan():
            return _of_funnel(plan)
        case ReachedScan():
            return _of_funnel(plan.funnel)
        case RetentionScan():
            returning = _step(plan.returning)
            if plan.lifetime:  # before the range only births are looked at
                returning = _all([returning, Comparison("$time", ">=", plan.births_ms[0])])
            matching = _any([_step(plan.birth), returning])
            return _rows([matching, _filter(plan.where)], names_of((plan.birth, plan.returning)))
        case FlowsScan():  # any event may follow an anchor; sessions end where a user has none at all
            return None if plan.window_ms < 0 else _rows([_filter(plan.where)], ())
        case TimelineScan():
            return _rows([Comparison("$distinct_id", "==", plan.user), _filter(plan.where)], ())
        case DidScan():  # without anything they did, whoever has any event belongs
            return _rows([_any(map(_step, plan.steps))], ()) if plan.did else None
        case SchemaScan():
            return None


def rows_of_events(events: Sequence[str]) -> RowsThatMatter | None:
    """Of rows that are wanted by their names alone; none: all are."""
    return _rows([_step(Step(tuple(events)))], tuple(events))


def _of_funnel(plan: FunnelScan) -> RowsThatMatter | None:
    """Sessions end where a user has no event at all; a strict funnel is broken by any; to explain is to show all."""
    if plan.count_mode == "session" or plan.explain_user:
        return None
    if plan.order == "strict":
        return _rows([_filter(plan.where)], ())
    steps = [*plan.steps, *(each.step for each in plan.exclusions)]
    return _rows([_any(map(_step, steps)), _filter(plan.where)], names_of(steps))


def _rows(conditions: Iterable[Expression | None], events: tuple[str, ...]) -> RowsThatMatter | None:
    condition = _all(conditions)
    return None if condition is None else RowsThatMatter(condition, events)


def _step(step: Step) -> Expression | None:
    """None: any row is like it."""
    return _all([Membership("$event", True, step.events) if step.events else None, _filter(step.where)])


def _filter(where: str) -> Expression | None:
    return parse(where) if where else None


def _all(conditions: Iterable[Expression | None]) -> Expression | None:
    some = tuple(each for each in conditions if each is not None)
    return All(some) if len(some) > 1 else some[0] if some else None


def _any(conditions: Iterable[Expression | None]) -> Expression | None:
    found = list(conditions)
    some = tuple(each for each in found if each is not None)
    if len(some) < len(found):
        return None
    return Any(some) if len(some) > 1 else some[0]


def names_of(steps: Sequence[Step]) -> tuple[str, ...]:
    """Of all steps; none where one is any event."""
    named = [step.events for step in steps]
    return tuple(dict.fromkeys(name for names in named for name in names)) if all(named) else ()
