"""The gateway's half of a retention: plan what shards are asked, add up their partials, rank, finish.

Partials hold every group's cells, so one round is enough: groups are ranked by births, folded and finished here. What
is complete follows from *now*, the gateway's clock when the question was planned:

- ``rolling``: a cell is complete when its bucket is over even for the last birth that its cohort can have;
- ``calendar``: when the unit it stands for has ended.

A day that the clock never showed is no cohort, but counts between two days.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evenshard.errors import EvenshardError, FieldFault
from evenshard.queries.buckets import OUTSIDE, Buckets, buckets
from evenshard.queries.groups import Integers
from evenshard.queries.plan import END_OF_TIME_MS
from evenshard.queries.retention import BORN
from evenshard.queries.retention_model import ROLLING_MS, RetentionQuery, RetentionUnit
from evenshard.queries.retention_plan import RetentionScan
from evenshard.queries.segmentation import CELLS_MAX
from evenshard.queries.values import OTHER, JsonText, Value, rank_of_tag, value_of_tag

_DAYS_MAX: dict[RetentionUnit, int] = {"day": 1, "week": 7, "month": 31}


@dataclass(frozen=True, slots=True)
class Cohort:
    """Users born in one unit; ``returned`` and ``incomplete``: one a bucket."""

    start: str
    size: int
    returned: tuple[int, ...]
    incomplete: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Triangle:
    """Cohorts from the first unit to the last, and for each bucket the share of all whose bucket is complete."""

    cohorts: tuple[Cohort, ...]
    average: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class RetentionGroup:
    """The cohorts of those whose birth has the values ``by``."""

    by: tuple[Value | JsonText, ...]
    triangle: Triangle


@dataclass(frozen=True, slots=True)
class RetentionAnswer:
    """Everybody, then groups with most births first, ``$other`` last (none without a breakdown)."""

    overall: Triangle
    groups: tuple[RetentionGroup, ...]


@dataclass(frozen=True, slots=True)
class RetentionPlan:
    """A question in a time zone: what to ask the shards, how to name the cohorts, and when their cells are complete."""

    query: RetentionQuery
    starts: tuple[str, ...]
    over_ms: npt.NDArray[np.int64]
    """For each cohort and bucket."""
    scan: RetentionScan


def plan_retention(query: RetentionQuery, zone: ZoneInfo, *, dedupe: bool) -> RetentionPlan:
    """What to ask the shards. Raises ``RANGE_INVALID`` for a range too long, ``QUERY_INVALID`` for too many cells."""
    births = buckets(query.from_date, query.to_date, query.unit, zone)
    check_size(1, len(births.labels), query.buckets)
    cohort_units = np.array([_unit(label, query.unit) for label in births.labels], np.int64)
    ends_ms = np.zeros(len(births.labels), np.int64)
    inside = births.bucket_of != OUTSIDE
    np.maximum.at(ends_ms, births.bucket_of[inside], births.bounds_ms[1:][inside])
    calendar = None
    if query.align == "rolling":
        unit_ms = ROLLING_MS[query.unit]
        over_ms = ends_ms[:, None] + np.arange(1, query.buckets + 1) * unit_ms
    else:
        unit_ms = 0
        after = query.to_date + timedelta(days=query.buckets * _DAYS_MAX[query.unit])
        calendar = buckets(query.from_date, after, query.unit, zone)
        over_ms = _ends_of_units(calendar, query.unit, cohort_units[:, None] + np.arange(query.buckets))
    end_ms = int(over_ms.max(initial=births.bounds_ms[-1]))
    origin = int(cohort_units.min(initial=0))
    units = _units_of(calendar, query.unit) - origin if calendar else np.zeros(0, np.int64)
    scan = RetentionScan(
        start_ms=0 if query.birth_scope == "lifetime" else int(births.bounds_ms[0]),
        end_ms=END_OF_TIME_MS if query.mode == "on_or_after" else end_ms,
        births_ms=tuple(births.bounds_ms.tolist()),
        cohort_of=tuple(births.bucket_of.tolist()),
        cohorts=len(births.labels),
        unit_ms=unit_ms,
        units_ms=tuple(calendar.bounds_ms.tolist()) if calendar else (),
        unit_of=tuple(units.tolist()),
        cohort_units=tuple((cohort_units - origin).tolist()),
        buckets=query.buckets,
        on_or_after=query.mode == "on_or_after",
        lifetime=query.birth_scope == "lifetime",
        birth=query.birth,
        returning=query.returning,
        where=query.where,
        by=query.by,
        skip_duplicates=dedupe and not query.include_duplicates,
    )
    return RetentionPlan(query, births.labels, over_ms, scan)


def merge(partials: Sequence[pa.Table]) -> pa.Table:
    """Several partials as one; associative."""
    table = pa.concat_tables([partial.replace_schema_metadata(None) for partial in partials])
    keys = table.schema.names[:-1]
    summed = table.group_by(keys).aggregate([("users", "sum")]).select([*keys, "users_sum"])
    return summed.rename_columns(table.schema.names)


def finish(plan: RetentionPlan, merged: pa.Table, now_ms: int) -> RetentionAnswer:
    """The answer, as of now. Raises ``QUERY_INVALID`` where it would be too large."""
    query = plan.query
    ranked, line_of = _ranked(query, merged)
    lines = min(len(ranked), query.limit + 1) if query.by else 0
    check_size(lines + 1, len(plan.starts), query.buckets)
    cells = np.zeros((lines + 1, len(plan.starts), query.buckets + 1), np.int64)
    cohort, bucket = merged.column("cohort").to_numpy(), merged.column("bucket").to_numpy() - BORN
    users = merged.column("users").to_numpy()
    np.add.at(cells[lines], (cohort, bucket), users)
    if lines:
        np.add.at(cells, (np.minimum(line_of, query.limit), cohort, bucket), users)
    if query.mode == "on_or_after":
        cells[:, :, 1:] = np.cumsum(cells[:, :, :0:-1], axis=2)[:, :, ::-1]
    incomplete = plan.over_ms > now_ms
    shown = [tuple(map(value_of_tag, group)) for group in ranked[: query.limit]]
    if len(ranked) > query.limit:
        shown.append((value_of_tag(OTHER),) * len(query.by))
    return RetentionAnswer(
        _triangle(plan, cells[lines], incomplete),
        tuple(RetentionGroup(by, _triangle(plan, cells[at], incomplete)) for at, by in enumerate(shown)),
    )


def check_size(lines: int, cohorts: int, buckets_each: int) -> None:
    """Raises ``QUERY_INVALID`` for an answer of too many cells."""
    if lines * cohorts * (buckets_each + 1) > CELLS_MAX:
        raise EvenshardError(
            "QUERY_INVALID",
            f"an answer of {lines} groups, {cohorts} cohorts and {buckets_each} buckets exceeds {CELLS_MAX} cells",
            hint="ask for fewer days, fewer buckets, fewer groups (limit), or a coarser unit",
            fields=(FieldFault("buckets", "the answer would be too large"),),
        )


def _triangle(plan: RetentionPlan, cells: npt.NDArray[np.int64], incomplete: npt.NDArray[Any]) -> Triangle:
    """``cells``: for each cohort its size, then a number for each bucket."""
    cohorts = tuple(
        Cohort(start, row[0], tuple(row[1:]), tuple(open_ones))
        for start, row, open_ones in zip(plan.starts, cells.tolist(), incomplete.tolist(), strict=True)
    )
    returned = np.where(incomplete, 0, cells[:, 1:]).sum(axis=0).tolist()
    sizes = np.where(incomplete, 0, cells[:, :1]).sum(axis=0).tolist()
    average = tuple(back / size if size else None for back, size in zip(returned, sizes, strict=True))
    return Triangle(cohorts, average)


def _unit(label: str, unit: RetentionUnit) -> int:
    """Days, weeks or months, counted; of a unit's first day."""
    day = date.fromisoformat(label)
    match unit:
        case "day":
            return day.toordinal()
        case "week":
            return (day.toordinal() - 1) // 7
        case "month":
            return day.year * 12 + day.month


def _units_of(calendar: Buckets, unit: RetentionUnit) -> Integers:
    """The unit of each interval; where the clock shows the day before the first again, that of the interval before."""
    units = np.array([_unit(label, unit) for label in calendar.labels], np.int64)
    inside = np.where(calendar.bucket_of == OUTSIDE, 0, np.arange(len(calendar.bucket_of)))
    return units[calendar.bucket_of[np.maximum.accumulate(inside)]] if len(units) else np.zeros(1, np.int64)


def _ends_of_units(calendar: Buckets, unit: RetentionUnit, wanted: Integers) -> npt.NDArray[np.int64]:
    """When each of ``wanted``, or a unit before it, was shown for the last time."""
    units = _units_of(calendar, unit)
    order = np.argsort(units, kind="stable")
    ends_ms = np.maximum.accumulate(calendar.bounds_ms[1:][order])
    result: npt.NDArray[np.int64] = ends_ms[np.searchsorted(units[order], wanted, "right") - 1]
    return result


def _ranked(query: RetentionQuery, merged: pa.Table) -> tuple[list[tuple[str, ...]], Integers]:
    """All groups by births, ties by values ascending; and the place of each row's group among them."""
    if not query.by:
        return [], np.zeros(merged.num_rows, np.int64)
    groups = list(zip(*(merged.column(f"by_{at}").to_pylist() for at in range(len(query.by))), strict=True))
    births: dict[tuple[str, ...], int] = {}
    for group, bucket, users in zip(
        groups, merged.column("bucket").to_pylist(), merged.column("users").to_pylist(), strict=True
    ):
        births[group] = births.get(group, 0) + (users if bucket == BORN else 0)
    ranked = sorted(births, key=lambda group: (-births[group], tuple(map(rank_of_tag, group))))
    place = {group: at for at, group in enumerate(ranked)}
    return ranked, np.array([place[group] for group in groups], np.int64)
