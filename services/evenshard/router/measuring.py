"""The metrics of a router."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import get_args

from evenshard.directory.operations import KINDS, STATES, Operation
from evenshard.hotkeys.marks import State as MarkState
from evenshard.ports.clock import Clock
from evenshard.runtime.marks import MarkView
from evenshard.runtime.metrics import count, is_measuring, observe
from evenshard.runtime.operations import OperationView
from evenshard.runtime.tenants import TenantView
from evenshard.wire.ingest import ImportResult


def observe_router(
    tenants: TenantView,
    operations: OperationView,
    marks: MarkView,
    clock: Clock,
    in_flight_bytes: Callable[[], int],
    counts_queued: Callable[[], int],
    counts_dropped: Callable[[], int],
    is_leader: Callable[[], bool],
) -> None:
    """From now on they are told."""
    if not is_measuring():
        return
    observe("evenshard.import.in_flight", in_flight_bytes)
    observe("evenshard.router.counts.queue", counts_queued)
    observe("evenshard.router.counts.dropped", counts_dropped)
    observe("evenshard.router.leader", lambda: int(is_leader()))
    observe("evenshard.tenants", tenants.count)
    observe("evenshard.hotkeys.marks", lambda: _marks(marks.states()))
    observe("evenshard.operations", lambda: operations_by_state(operations.operations()))
    observe("evenshard.operations.idle", lambda: idle_s(operations.operations(), clock.now_ms()))


def count_import(result: ImportResult) -> None:
    """What became of the events of an import."""
    if not is_measuring():
        return
    counts = list(result.by_tenant.values())
    outcomes = {
        "accepted": sum(each.accepted for each in counts),
        "duplicate": sum(each.duplicates for each in counts),
        "hot": sum(each.hot_events_rewritten for each in counts),
        "rejected": len(result.rejects),
    }
    for outcome, events in outcomes.items():
        count("evenshard.import.events", events, {"evenshard.outcome": outcome})
    for code, events in Counter(each.code for each in result.rejects).items():
        count("evenshard.import.rejected", events, {"evenshard.code": code})


def operations_by_state(operations: Iterable[Operation]) -> list[tuple[float, Mapping[str, str]]]:
    """So many of each kind in each state; those there are none of too, so that a rise is seen from its begin."""
    found: Counter[tuple[str, str]] = Counter((each.kind, each.state) for each in operations)
    return [
        (found[kind, state], {"evenshard.kind": kind, "evenshard.state": state})
        for kind in sorted(KINDS)
        for state in STATES
    ]


def idle_s(operations: Iterable[Operation], now_ms: int) -> float:
    """The longest time since one changed that has something to do: neither ended nor paused, nor switched, which waits
    for somebody to complete it or take it back."""
    waits = ("switched",)
    since = (each.changed_ms for each in operations if not (each.ended or each.paused or each.state in waits))
    return max((max(0.0, (now_ms - changed_ms) / 1000) for changed_ms in since), default=0.0)


def _marks(states: Mapping[str, int]) -> list[tuple[float, Mapping[str, str]]]:
    return [(states.get(state, 0), {"evenshard.state": state}) for state in get_args(MarkState)]
