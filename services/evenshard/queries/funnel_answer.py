"""The gateway's half of a funnel: plan what shards are asked, put their partials together, rank, finish.

Partials hold every user's level and times, so one round is enough: groups are ranked by entries, folded and finished
here, averages and medians exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import orjson
import pyarrow as pa

from evenshard.queries.buckets import OUTSIDE, buckets
from evenshard.queries.funnel import EXPLAINED
from evenshard.queries.funnel_histogram import NO_TIMES, Bar, Spread, spread
from evenshard.queries.funnel_model import FunnelQuery
from evenshard.queries.groups import Integers
from evenshard.queries.plan import FunnelScan
from evenshard.queries.values import OTHER, JsonText, Value, rank_of_tag, value_of_tag


@dataclass(frozen=True, slots=True)
class StepResult:
    """What became of one step, numbered from 1. Shares run from 0 to 1; None where undefined."""

    step: int
    name: str | None
    count: int
    conversion_from_previous: float | None
    conversion_from_first: float | None
    avg_seconds_from_previous: float | None
    median_seconds_from_previous: float | None
    avg_seconds_from_first: float | None
    median_seconds_from_first: float | None
    histogram: tuple[Bar, ...]
    """Of the times from the first step."""


@dataclass(frozen=True, slots=True)
class FunnelGroup:
    """The steps of those users whose values are ``by``."""

    by: tuple[Value | JsonText, ...]
    steps: tuple[StepResult, ...]


@dataclass(frozen=True, slots=True)
class FunnelAnswer:
    """Everybody, then groups with most entries first, ``$other`` last (none without a breakdown)."""

    overall: tuple[StepResult, ...]
    groups: tuple[FunnelGroup, ...]
    explained: tuple[dict[str, Any], ...]
    """Of each event of the user who is explained, in order, what ``funnel_explain.Explained.lines`` tells."""


def plan_funnel(query: FunnelQuery, zone: ZoneInfo, *, dedupe: bool) -> FunnelScan:
    """What to ask the shards. Raises ``RANGE_INVALID`` for a range too long."""
    made = buckets(query.from_date, query.to_date, "month", zone)
    entries: list[int] = []
    for at, bucket in enumerate(made.bucket_of.tolist()):
        if bucket == OUTSIDE:
            continue
        start, end = made.bounds_ms[at : at + 2].tolist()
        if entries and entries[-1] == start:
            entries[-1] = end
        else:
            entries += [start, end]
    if not entries:  # dates that a zone's clock never showed
        entries = made.bounds_ms[[0, 0]].tolist()
    return FunnelScan(
        entries_ms=tuple(entries),
        window_ms=query.window_ms,
        steps=query.steps,
        where=query.where,
        by=query.by,
        by_step=query.by_step,
        skip_duplicates=dedupe and not query.include_duplicates,
        order=query.order,
        attempt=query.attempt,
        count_mode=query.count_mode,
        strict_increase=query.strict_increase,
        exclusions=query.exclusions,
        exclude_user=query.exclude_user,
        hold=query.hold_constant,
        explain_user=query.explain_user,
    )


def merge(partials: Sequence[pa.Table]) -> pa.Table:
    """Several partials as one; associative."""
    explained: list[dict[str, Any]] = []
    for partial in partials:
        explained += orjson.loads((partial.schema.metadata or {}).get(EXPLAINED, b"[]"))
    tables = [partial.replace_schema_metadata(None) for partial in partials]
    if any(table.schema != tables[0].schema for table in tables):  # a shard of another version has longer times
        tables = [_with_long_times(table) for table in tables]
    table = pa.concat_tables(tables)
    return table.replace_schema_metadata({EXPLAINED: orjson.dumps(explained)})


def finish(query: FunnelQuery, merged: pa.Table) -> FunnelAnswer:
    """The answer."""
    names = query.names
    users = _Users(merged)
    groups: list[FunnelGroup] = []
    if query.by:
        ranked = _ranked(query, merged)
        lines = {group: min(number, query.limit) for number, group in enumerate(ranked)}
        of_row = np.array([lines[group] for group in _groups(query, merged)], np.int64)
        shown = [tuple(map(value_of_tag, group)) for group in ranked[: query.limit]]
        if len(ranked) > query.limit:
            shown.append((value_of_tag(OTHER),) * len(query.by))
        groups = [FunnelGroup(by, users.steps(np.flatnonzero(of_row == at), names)) for at, by in enumerate(shown)]
    explained = orjson.loads(merged.schema.metadata[EXPLAINED])
    return FunnelAnswer(users.steps(np.arange(merged.num_rows), names), tuple(groups), tuple(explained))


def _with_long_times(table: pa.Table) -> pa.Table:
    times = table.column("times").cast(pa.large_list(pa.int64()))
    return table.set_column(table.schema.get_field_index("times"), "times", times)


class _Users:
    """The users of a partial, and what became of some of its rows."""

    def __init__(self, merged: pa.Table) -> None:
        self.levels: Integers = merged.column("level").to_numpy()
        self.users: Integers = merged.column("users").to_numpy()
        # Slices of a partial's times, without copying them.
        self.times: list[Integers] = []
        for chunk in merged.column("times").chunks:
            flat, offsets = chunk.values.to_numpy(), chunk.offsets.to_numpy()
            self.times += [flat[first:end] for first, end in pairwise(offsets)]

    def steps(self, rows: Integers, names: Sequence[str | None]) -> tuple[StepResult, ...]:
        """Results of the users that ``rows`` hold."""
        by_level = [rows[self.levels[rows] == level] for level in range(len(names) + 1)]
        results: list[StepResult] = []
        entered = count = int(self.users[rows].sum())
        for step, name in enumerate(names, 1):
            before, count = count, int(self.users[rows[self.levels[rows] >= step]].sum())
            first, previous = self._spreads(by_level, step, count)
            results.append(
                StepResult(
                    step,
                    name,
                    count,
                    count / before if step > 1 and before else None,
                    count / entered if entered else None,
                    previous.average_s,
                    previous.median_s,
                    first.average_s,
                    first.median_s,
                    first.bars,
                )
            )
        return tuple(results)

    def _spreads(self, by_level: Sequence[Integers], step: int, count: int) -> tuple[Spread, Spread]:
        """Of the times from step 1 and from the step before, of all ``count`` users who reached ``step``."""
        if step == 1:
            return Spread(0.0, 0.0, ()) if count else NO_TIMES, NO_TIMES
        first: list[Integers] = []
        previous: list[Integers] = []
        for level in range(step, len(by_level)):
            for row in by_level[level].tolist():
                times = self.times[row].reshape(-1, level - 1)
                first.append(times[:, step - 2])
                if step > 2:
                    previous.append(times[:, step - 2] - times[:, step - 3])
        from_first = spread(*first)
        return from_first, spread(*previous) if step > 2 else from_first


def _groups(query: FunnelQuery, merged: pa.Table) -> list[tuple[str, ...]]:
    """The tags of each row."""
    return list(zip(*(merged.column(f"by_{at}").to_pylist() for at in range(len(query.by))), strict=True))


def _ranked(query: FunnelQuery, merged: pa.Table) -> list[tuple[str, ...]]:
    """All groups by entries, ties by values ascending."""
    entries: dict[tuple[str, ...], int] = {}
    for group, users in zip(_groups(query, merged), merged.column("users").to_pylist(), strict=True):
        entries[group] = entries.get(group, 0) + users
    return sorted(entries, key=lambda group: (-entries[group], tuple(map(rank_of_tag, group))))
