"""Retention asked and answered: the client's arguments as protobuf, the answer as values."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import pyarrow as pa
from google.protobuf import json_format

from evenshard.api.v1 import query_pb2
from evenshard.client.answer import Answer
from evenshard.client.requests import names
from evenshard.client.results import breakdown_column, breakdown_value, meta_document
from evenshard.client.steps import at_least_one, step_message
from evenshard.errors import EvenshardError
from evenshard.text.retention import retention_blocks
from evenshard.text.table import Block


@dataclass(frozen=True, slots=True, repr=False)
class RetentionResult(Answer):
    """How many users of each cohort returned. A cohort is ``{"start", "size", "returned": [one a bucket],
    "incomplete": [one a bucket]}``."""

    cohorts: list[dict[str, Any]]
    """Everybody's, one a unit of the range."""
    average: list[float | None]
    """For each bucket the share of all cohorts whose bucket is over."""
    groups: list[dict[str, Any]]
    """``{"by": [value…], "cohorts", "average"}``, most births first; none without a breakdown."""
    meta: dict[str, Any]
    by: tuple[str, ...] = ()
    """The properties that ``groups[…]["by"]`` are values of."""
    unit: str = "day"
    """What a bucket is: day, week or month."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of ``evenshard query retention``."""
        return {"cohorts": self.cohorts, "average": self.average, "groups": self.groups, "meta": self.meta}

    def to_arrow(self) -> pa.Table:
        """One row a group, cohort and bucket, everybody's where there is no breakdown: a column for each property of
        it, then ``start``, ``size``, ``bucket``, ``returned``, ``share`` (null where the cohort is empty),
        ``incomplete``. A property whose values are of several types is given as JSON text."""
        lines = self.groups if self.by else [{"by": [], "cohorts": self.cohorts}]
        cells = [
            (line["by"], cohort, bucket)
            for line in lines
            for cohort in line["cohorts"]
            for bucket in range(len(cohort["returned"]))
        ]
        columns: dict[str, pa.Array] = {}
        for at, name in enumerate(self.by):
            columns[name] = breakdown_column([by[at] for by, _, _ in cells])
        returned = [cohort["returned"][bucket] for _, cohort, bucket in cells]
        sizes = [cohort["size"] for _, cohort, _ in cells]
        shares = [back / size if size else None for back, size in zip(returned, sizes, strict=True)]
        columns |= {
            "start": pa.array([cohort["start"] for _, cohort, _ in cells], pa.utf8()),
            "size": pa.array(sizes, pa.int64()),
            "bucket": pa.array([bucket for _, _, bucket in cells], pa.int32()),
            "returned": pa.array(returned, pa.int64()),
            "share": pa.array(shares, pa.float64()),
            "incomplete": pa.array([cohort["incomplete"][bucket] for _, cohort, bucket in cells], pa.bool_()),
        }
        return pa.table(columns)

    def blocks(self) -> list[Block]:
        return retention_blocks(self.to_dict(), self.by, self.unit)

    def plot(self, ax: Any = None, *, kind: Literal["triangle", "curves"] | None = None) -> Any:
        """Draws everybody's triangle as a heat map with the cohorts' sizes, hatched where a bucket is not over yet; or
        curves of the average by bucket, a line a group (the default where there is a breakdown). Returns the matplotlib
        ``Axes``: ``ax``, or those of a new figure; needs matplotlib (``evenshard[plot]``)."""
        from evenshard.client.plots.retention import draw_curves, draw_triangle

        match kind or ("curves" if self.by else "triangle"):
            case "curves":
                return draw_curves(self, ax)
            case "triangle":
                return draw_triangle(self, ax)
            case _:
                raise ValueError(f"kind is triangle or curves, not {kind!r}")


def retention_request(
    tenant: str,
    birth: str,
    return_: str | None,
    from_date: str | date,
    to_date: str | date,
    *,
    unit: str,
    buckets: int,
    mode: str,
    align: str,
    birth_scope: str,
    by: str | Sequence[str],
    where: str | None,
    limit: int,
    include_duplicates: bool,
    restore_hot: bool,
    allow_partial: bool,
    no_cache: bool,
) -> query_pb2.QueryRetentionRequest:
    """Raises ``QUERY_INVALID`` for steps that cannot be read."""
    returning = {} if return_ is None else {"return": step_message(return_, "return")}
    return query_pb2.QueryRetentionRequest(
        tenant=tenant,
        from_date=str(from_date),
        to_date=str(to_date),
        birth=step_message(birth, "birth"),
        unit=unit,
        buckets=at_least_one("buckets", buckets),
        mode=mode,
        align=align,
        birth_scope=birth_scope,
        by=names(by),
        where=where or "",
        limit=limit,
        options=query_pb2.QueryOptions(
            include_duplicates=include_duplicates,
            restore_hot=restore_hot,
            allow_partial=allow_partial,
            no_cache=no_cache,
        ),
        **returning,
    )


def parsed_retention(document: str | bytes) -> query_pb2.QueryRetentionRequest:
    """Raises ``QUERY_INVALID`` for what is no such request."""
    try:
        return json_format.Parse(document, query_pb2.QueryRetentionRequest())
    except json_format.ParseError as error:
        raise EvenshardError("QUERY_INVALID", f"no retention request: {error}") from error


def retention_result(answer: query_pb2.QueryRetentionResponse, by: Sequence[str], unit: str = "day") -> RetentionResult:
    """The answer as it came, as values."""
    return RetentionResult(
        _cohorts(answer.cohorts),
        _average(answer.average),
        [
            {
                "by": [breakdown_value(each) for each in group.by],
                "cohorts": _cohorts(group.cohorts),
                "average": _average(group.average),
            }
            for group in answer.groups
        ],
        meta_document(answer.meta),
        tuple(by),
        unit or "day",
    )


def _cohorts(cohorts: Sequence[query_pb2.RetentionCohort]) -> list[dict[str, Any]]:
    return [
        {
            "start": cohort.start,
            "size": cohort.size,
            "returned": list(cohort.returned),
            "incomplete": list(cohort.incomplete),
        }
        for cohort in cohorts
    ]


def _average(shares: Sequence[query_pb2.RetentionShare]) -> list[float | None]:
    return [each.share if each.HasField("share") else None for each in shares]
