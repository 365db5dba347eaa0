"""The slow queries of one process: the newest are kept, and grouped by where, whose or what they were. Pure."""

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

KEPT_MAX: Final = 1_000
"""Of one process; beyond, the oldest go."""
NAMES_SHOWN_MAX: Final = 3
ANY_EVENT: Final = "*"

By = Literal["", "shard", "tenant", "event"]
_GroupKey = tuple[str | None, str | None, str | None, str | None]
GROUPINGS: Final[tuple[By, ...]] = get_args(By)


@dataclass(frozen=True, slots=True)
class SlowQuery:
    """A query that took longer than ``slow_query_ms``, waiting included."""

    at_ms: int
    """When it ended, ms since the epoch."""
    place: str
    """The shard, or the gateway, that it was slow on."""
    tenant: str
    kind: str
    """segmentation, funnel …"""
    event: str
    """The names it asks for; ``*``: any."""
    rows: int
    """Read."""
    wait_ms: float
    """Until its turn came."""
    run_ms: float
    trace_id: str
    failed: bool = False
    """It ended without an answer, as those do that run out of time."""

    @property
    def total_ms(self) -> float:
        return self.wait_ms + self.run_ms


@dataclass(frozen=True, slots=True)
class SlowGroup:
    """Slow queries that have something in common; None: they differ in it, or it was not asked for."""

    place: str | None
    tenant: str | None
    kind: str | None
    event: str | None
    count: int
    p99_ms: float
    max_ms: float
    wait_p99_ms: float
    run_p99_ms: float
    rows: int
    """Read by all of them."""


class SlowQueries:
    """The log of one process."""

    def __init__(self, slow_ms: float, kept_max: int = KEPT_MAX) -> None:
        self._slow_ms = slow_ms
        self._kept: deque[SlowQuery] = deque(maxlen=kept_max)
        self.noted = 0
        """Since the start, those that are not kept any more included."""

    def is_slow(self, total_ms: float) -> bool:
        """Whether a query that took so long is kept."""
        return total_ms >= self._slow_ms

    def note(self, query: SlowQuery) -> bool:
        """Keeps it if it was slow; whether it was."""
        if not self.is_slow(query.total_ms):
            return False
        self._kept.append(query)
        self.noted += 1
        return True

    def newest(self) -> list[SlowQuery]:
        """The newest first."""
        return list(reversed(self._kept))


def names_of(events: Iterable[str]) -> str:
    """Names of events as one text: sorted, the first few."""
    names = sorted(set(events))
    if not names:
        return ANY_EVENT
    more = f" +{len(names) - NAMES_SHOWN_MAX}" if len(names) > NAMES_SHOWN_MAX else ""
    return ", ".join(names[:NAMES_SHOWN_MAX]) + more


def grouped(queries: Iterable[SlowQuery], by: By, limit: int) -> list[SlowGroup]:
    """Groups, the one in which most time was spent first; ``by`` empty: by place, tenant, kind and event together."""
    groups: dict[_GroupKey, list[SlowQuery]] = {}
    for query in queries:
        groups.setdefault(_key_of(query, by), []).append(query)
    ranked = sorted(groups.items(), key=lambda each: (-sum(query.total_ms for query in each[1]), str(each[0])))
    return [_group(*key, members) for key, members in ranked[:limit]]


def _key_of(query: SlowQuery, by: By) -> _GroupKey:
    match by:
        case "shard":
            return query.place, None, None, None
        case "tenant":
            return None, query.tenant, None, None
        case "event":
            return None, None, None, query.event
        case "":
            return query.place, query.tenant, query.kind, query.event


def _group(
    place: str | None, tenant: str | None, kind: str | None, event: str | None, members: Sequence[SlowQuery]
) -> SlowGroup:
    """What members have in common is told even where it was not grouped by."""
    totals = [query.total_ms for query in members]
    return SlowGroup(
        place if place is not None else _common(query.place for query in members),
        tenant if tenant is not None else _common(query.tenant for query in members),
        kind if kind is not None else _common(query.kind for query in members),
        event if event is not None else _common(query.event for query in members),
        len(members),
        nearest_rank(totals, 0.99),
        max(totals),
        nearest_rank([query.wait_ms for query in members], 0.99),
        nearest_rank([query.run_ms for query in members], 0.99),
        sum(query.rows for query in members),
    )


def _common(values: Iterable[str]) -> str | None:
    found = set(values)
    return found.pop() if len(found) == 1 else None


def nearest_rank(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share of them does not exceed."""
    return sorted(values)[max(1, math.ceil(share * len(values))) - 1]
