"""Funnels asked and answered: the client's arguments as protobuf, the answer as values."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import pyarrow as pa
from google.protobuf import json_format

from evenshard.api.v1 import query_pb2
from evenshard.client.answer import Answer
from evenshard.client.requests import names
from evenshard.client.results import breakdown_column, breakdown_value, meta_document
from evenshard.errors import EvenshardError, FieldFault
from evenshard.queries.steps import parse_exclusion, parse_step
from evenshard.text.funnel import funnel_blocks
from evenshard.text.table import Block

_UNIT_MS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_DURATION: Final = re.compile(r"(\d{1,12})(ms|s|m|h|d|w)", re.ASCII)
_STEP_FIELDS: Final = tuple(field.name for field in query_pb2.FunnelStepResult.DESCRIPTOR.fields)
_STEP_NUMBERS: Final = tuple(
    (field.name, field.has_presence) for field in query_pb2.FunnelStepResult.DESCRIPTOR.fields if not field.is_repeated
)
"""Fields of one value, and whether it may be absent."""
_BAR: Final = pa.struct({"up_to_seconds": pa.float64(), "count": pa.int64()})
_STEP_TYPES: Final = {"step": pa.int32(), "name": pa.utf8(), "count": pa.int64(), "histogram": pa.list_(_BAR)}


@dataclass(frozen=True, slots=True, repr=False)
class FunnelResult(Answer):
    """How many users reached each step. A step is ``{"step", "name", "count", "conversion_from_previous",
    "conversion_from_first", "avg_seconds_from_previous", "median_seconds_from_previous", "avg_seconds_from_first",
    "median_seconds_from_first", "histogram": [{"up_to_seconds", "count"}]}``; None where undefined. With
    ``count="total"`` it is attempts that are counted, with ``"session"`` sessions."""

    overall: dict[str, Any]
    """``{"steps": [step…]}``: everybody."""
    groups: list[dict[str, Any]]
    """``{"by": [value…], "steps": [step…]}``, most entries first; none without a breakdown."""
    meta: dict[str, Any]
    by: tuple[str, ...] = ()
    """The properties that ``groups[…]["by"]`` are values of."""
    explain: list[dict[str, Any]] | None = None
    """``{"event", "time_ms", "insert_id", "step", "reason"}`` of each event of ``explain_user`` that takes part, in
    order; None: nobody was to be explained."""
    count: str = "unique"
    """What was counted: unique (users), total (attempts) or session."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of ``evenshard query funnel``."""
        document = {"overall": self.overall, "groups": self.groups, "meta": self.meta}
        return document if self.explain is None else {**document, "explain": self.explain}

    def to_arrow(self) -> pa.Table:
        """One row a group and step, everybody's where there is no breakdown: a column for each property of it, then
        the fields of a step. A property whose values are of several types is given as JSON text."""
        lines = self.groups if self.by else [{"by": [], **self.overall}]
        columns: dict[str, pa.Array] = {}
        for at, name in enumerate(self.by):
            columns[name] = breakdown_column([line["by"][at] for line in lines for _ in line["steps"]])
        for name in _STEP_FIELDS:
            values = [step[name] for line in lines for step in line["steps"]]
            columns[name] = pa.array(values, _STEP_TYPES.get(name, pa.float64()))
        return pa.table(columns)

    def blocks(self) -> list[Block]:
        return funnel_blocks(self.to_dict(), self.by, self.count)

    def plot(self, ax: Any = None) -> Any:
        """Draws a bar a step, above it in grey who dropped out, below it how many, of the step before, and the average
        time from there; with a breakdown a bar a group. Returns the matplotlib ``Axes``: ``ax``, or those of a new
        figure; needs matplotlib (``evenshard[plot]``)."""
        from evenshard.client.plots.funnel import draw_funnel

        return draw_funnel(self, ax)


def funnel_request(
    tenant: str,
    steps: Sequence[str],
    from_date: str | date,
    to_date: str | date,
    *,
    window: str,
    order: str,
    attempt: str,
    count: str,
    strict_increase: bool,
    exclude: str | Sequence[str],
    exclude_user: bool,
    hold: str | Sequence[str],
    by: str | Sequence[str],
    by_step: str | int,
    where: str | None,
    limit: int,
    include_duplicates: bool,
    restore_hot: bool,
    allow_partial: bool,
    no_cache: bool,
    explain_user: str | None,
) -> query_pb2.QueryFunnelRequest:
    """Raises ``QUERY_INVALID`` for steps, exclusions and windows that cannot be read."""
    excluding = [parse_exclusion(text, f"exclude[{number}]") for number, text in enumerate(names(exclude))]
    parsed = [parse_step(text, f"steps[{number}]") for number, text in enumerate(names(steps))]
    return query_pb2.QueryFunnelRequest(
        tenant=tenant,
        from_date=str(from_date),
        to_date=str(to_date),
        steps=[query_pb2.FunnelStep(events=step.events, where=step.where) for step in parsed],
        window_ms=_window_ms(window),
        order=order,
        attempt=attempt,
        count_mode=count,
        strict_increase=strict_increase,
        exclusions=[
            query_pb2.FunnelExclusion(
                events=each.step.events,
                where=each.step.where,
                after_step=each.after_step,
                before_step=each.before_step,
            )
            for each in excluding
        ],
        exclude_user=exclude_user,
        hold_constant=names(hold),
        by=names(by),
        by_step=str(by_step),
        where=where or "",
        limit=limit,
        options=query_pb2.QueryOptions(
            include_duplicates=include_duplicates,
            restore_hot=restore_hot,
            allow_partial=allow_partial,
            no_cache=no_cache,
        ),
        explain_user=explain_user or "",
    )


def parsed_funnel(document: str | bytes) -> query_pb2.QueryFunnelRequest:
    """Raises ``QUERY_INVALID`` for what is no such request."""
    try:
        return json_format.Parse(document, query_pb2.QueryFunnelRequest())
    except json_format.ParseError as error:
        raise EvenshardError("QUERY_INVALID", f"no funnel request: {error}") from error


def funnel_result(answer: query_pb2.QueryFunnelResponse, request: query_pb2.QueryFunnelRequest) -> FunnelResult:
    """The answer as it came, as values."""
    explain = [
        {
            "event": line.event,
            "time_ms": line.time_ms,
            "insert_id": line.insert_id or None,
            "step": line.step or None,
            "reason": line.reason,
        }
        for line in answer.explain
    ]
    return FunnelResult(
        {"steps": _steps(answer.overall.steps)},
        [{"by": [breakdown_value(each) for each in group.by], "steps": _steps(group.steps)} for group in answer.groups],
        meta_document(answer.meta),
        tuple(request.by),
        explain if request.explain_user else None,
        request.count_mode or "unique",
    )


def _steps(steps: Sequence[query_pb2.FunnelStepResult]) -> list[dict[str, Any]]:
    return [
        {
            name: getattr(step, name) if not may_be_absent or step.HasField(name) else None
            for name, may_be_absent in _STEP_NUMBERS
        }
        | {"histogram": [{"up_to_seconds": bar.up_to_seconds, "count": bar.count} for bar in step.histogram]}
        for step in steps
    ]


def _window_ms(text: str) -> int:
    found = _DURATION.fullmatch(text)
    if found is None:
        problem = f"{text!r} is not a duration"
        raise EvenshardError(
            "QUERY_INVALID",
            f"window: {problem}",
            hint="write it as 0s, 500ms, 30s, 5m, 1h, 30d or 2w; at most 366d",
            fields=(FieldFault("window", problem),),
        )
    return min(int(found[1]) * _UNIT_MS[found[2]], 2**63 - 1)
