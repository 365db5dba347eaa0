"""The gateway's half of a segmentation: plan what shards are asked, add up their partials, rank, finish.

Uniques of "all other groups" do not follow from the uniques of groups, and quantiles of many groups are long: shards
must know which groups to keep, so where there are more than are shown a second round names them. Shards also tell how
many events every other group has, so that an answer is finished only from a round whose own ranking is the one it was
asked with: every answer is of one reading of each shard.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.errors import EvenshardError, FieldFault
from evenshard.queries.buckets import OUTSIDE, Buckets, buckets
from evenshard.queries.groups import Integers
from evenshard.queries.measured import measured_lines
from evenshard.queries.measures import OF_USERS
from evenshard.queries.model import SegmentationQuery
from evenshard.queries.plan import SegmentationScan
from evenshard.queries.segmentation import CELLS_MAX, RANK
from evenshard.queries.values import OTHER, JsonText, Value, rank_of_tag, value_of_tag

Measured = int | float | None
"""None: undefined."""
Group = tuple[str, ...]
"""Tags, one for each property of the breakdown."""


@dataclass(frozen=True, slots=True)
class Series:
    """One line of an answer. ``values``: one a bucket."""

    by: tuple[Value | JsonText, ...]
    values: tuple[Measured, ...]
    overall: Measured


@dataclass(frozen=True, slots=True)
class SegmentationAnswer:
    """Buckets by label, groups with most events first, ``$other`` last."""

    buckets: tuple[str, ...]
    series: tuple[Series, ...]


@dataclass(frozen=True, slots=True)
class SegmentationPlan:
    """A question in a time zone: what to ask the shards, and how to name the buckets."""

    query: SegmentationQuery
    labels: tuple[str, ...]
    scan: SegmentationScan

    def keeping(self, groups: Sequence[Group]) -> "SegmentationPlan":
        """The same with these groups answered for one by one. Raises ``QUERY_INVALID`` for too large an answer."""
        check_size(len(groups) + 1, len(self.labels))
        return replace(self, scan=replace(self.scan, keep=tuple(groups)))


def plan_segmentation(query: SegmentationQuery, zone: ZoneInfo, *, dedupe: bool) -> SegmentationPlan:
    """The first round. Raises ``RANGE_INVALID`` for too many buckets."""
    made: Buckets = buckets(query.from_date, query.to_date, query.unit, zone)
    scan = SegmentationScan(
        bounds_ms=tuple(made.bounds_ms.tolist()),
        bucket_of=tuple(made.bucket_of.tolist()),
        buckets=len(made.labels),
        events=query.events,
        where=query.where,
        by=query.by,
        measure=query.measure,
        limit=query.limit,
        skip_duplicates=dedupe and not query.include_duplicates,
        keep=None,
        measured_property=query.measured_property,
    )
    return SegmentationPlan(query, made.labels, scan)


def incomplete_buckets(plan: SegmentationPlan, now_ms: int) -> int:
    """How many of the last buckets end after now."""
    scan = plan.scan
    first_open = bisect_right(scan.bounds_ms, now_ms, lo=1) - 1
    return max((scan.buckets - bucket for bucket in scan.bucket_of[first_open:] if bucket != OUTSIDE), default=0)


def merge(partials: Sequence[pa.Table]) -> pa.Table:
    """Several partials as one; associative."""
    table = pa.concat_tables(partials, promote_options="default")
    values: list[pa.Table] = []
    if "amount" in table.schema.names:  # rows of numbers need not be added up to mean the same
        numbered = table.column("amount").is_valid()
        values = [table.filter(numbered)]
        table = table.filter(pc.invert(numbered)).drop_columns(["whole", "exact", "amount"])
    names = table.schema.names
    summed = table.group_by(names[:-2]).aggregate([("events", "sum"), ("users", "sum")])
    counts = summed.select([*names[:-2], "events_sum", "users_sum"]).rename_columns(names)
    return pa.concat_tables([counts, *values], promote_options="default")


def groups_to_keep(plan: SegmentationPlan, merged: pa.Table) -> list[Group] | None:
    """The groups that another round must keep; None: ``merged`` can be finished."""
    if not plan.query.by:
        return None
    ranked = _ranked(plan, merged)
    top = ranked[: plan.query.limit]
    if plan.scan.keep is not None:
        return None if set(top) == set(plan.scan.keep) else top
    folded = bool(pc.any(pc.equal(merged.column("bucket"), RANK)).as_py())
    needs_uniques_of_others = plan.query.measure in OF_USERS and len(ranked) > len(top)
    return top if folded or needs_uniques_of_others else None


def finish(plan: SegmentationPlan, merged: pa.Table) -> SegmentationAnswer:
    """The answer. Raises ``QUERY_INVALID`` where it would be too large."""
    ranked = _ranked(plan, merged)
    top = ranked[: plan.query.limit] if plan.scan.keep is None else [g for g in ranked if g in set(plan.scan.keep)]
    other = _other(plan)
    lines = {group: number for number, group in enumerate(top)}
    found = _groups(plan, merged)
    line_of = np.array([lines.get(group, len(top)) for group in found.groups], np.int64)
    has_other = len(found.groups) > len(top)
    check_size(len(top) + has_other, len(plan.labels))

    cells, overall = measured_lines(
        plan.query.measure, merged, line_of[found.codes], len(top) + 1, len(plan.labels), plan.query.measured_property
    )
    shown = [*top, *([other] if has_other and plan.query.by else [])]
    return SegmentationAnswer(
        plan.labels,
        tuple(
            Series(tuple(map(value_of_tag, group)), tuple(cells[number]), overall[number])
            for number, group in enumerate(shown)
        ),
    )


def check_size(lines: int, labels: int) -> None:
    """Raises ``QUERY_INVALID`` for an answer of too many cells."""
    if lines * labels > CELLS_MAX:
        raise EvenshardError(
            "QUERY_INVALID",
            f"an answer of {lines} groups and {labels} buckets exceeds {CELLS_MAX} cells",
            hint="ask for fewer groups (limit), fewer days, or a coarser unit",
            fields=(FieldFault("limit", "the answer would be too large"),),
        )


@dataclass(frozen=True, slots=True)
class _Groups:
    """The groups of a table, and the place of each row's among them."""

    groups: list[Group]
    codes: Integers


def _other(plan: SegmentationPlan) -> Group:
    return (OTHER,) * len(plan.query.by)


def _groups(plan: SegmentationPlan, table: pa.Table) -> _Groups:
    if not plan.query.by:
        return _Groups([()], np.zeros(table.num_rows, np.int64))
    packed = np.zeros(table.num_rows, np.int64)
    values = []
    for at in range(len(plan.query.by)):
        column = table.column(f"by_{at}").combine_chunks().dictionary_encode()
        packed = packed * max(1, len(column.dictionary)) + column.indices.to_numpy()
        values.append(column)
    _, first, codes = np.unique(packed, return_index=True, return_inverse=True)
    rows = pa.array(first)
    return _Groups(list(zip(*(column.take(rows).to_pylist() for column in values), strict=True)), codes)


def _ranked(plan: SegmentationPlan, table: pa.Table) -> list[Group]:
    """All groups by number of events, ties by value ascending, without ``$other``."""
    if not plan.query.by:
        return [()]
    found = _groups(plan, table)
    whole = table.column("bucket").to_numpy() < 0
    events = np.zeros(len(found.groups), np.int64)
    np.add.at(events, found.codes[whole], table.column("events").to_numpy()[whole])
    count = dict(zip(found.groups, events.tolist(), strict=True))
    count.pop(_other(plan), None)
    return sorted(count, key=lambda group: (-count[group], tuple(map(rank_of_tag, group))))
