"""Funnels: protobuf ↔ ours, on the gateway's side."""

from collections.abc import Sequence

from evenshard.api.v1 import query_pb2
from evenshard.queries.funnel_answer import FunnelAnswer, StepResult
from evenshard.queries.funnel_model import FunnelQuery, funnel_query
from evenshard.queries.steps import Exclusion, Step
from evenshard.wire.query import group_value


def funnel_query_of(request: query_pb2.QueryFunnelRequest) -> FunnelQuery:
    """Raises ``QUERY_INVALID`` or ``RANGE_INVALID``, naming the field."""
    return funnel_query(
        from_date=request.from_date,
        to_date=request.to_date,
        steps=[Step(tuple(step.events), step.where) for step in request.steps],
        window_ms=request.window_ms if request.HasField("window_ms") else None,
        order=request.order,
        attempt=request.attempt,
        count_mode=request.count_mode,
        strict_increase=request.strict_increase,
        exclusions=[
            Exclusion(Step(tuple(each.events), each.where), each.after_step, each.before_step)
            for each in request.exclusions
        ],
        exclude_user=request.exclude_user,
        hold_constant=request.hold_constant,
        where=request.where,
        by=request.by,
        by_step=request.by_step,
        limit=request.limit,
        include_duplicates=request.options.include_duplicates,
        explain_user=request.explain_user,
    )


def funnel_body(answer: FunnelAnswer) -> bytes:
    """A ``QueryFunnelResponse`` without its account."""
    return query_pb2.QueryFunnelResponse(
        overall=query_pb2.FunnelSteps(steps=_steps(answer.overall)),
        groups=[
            query_pb2.FunnelGroup(by=[group_value(value) for value in group.by], steps=_steps(group.steps))
            for group in answer.groups
        ],
        explain=[
            query_pb2.ExplainedEvent(
                event=line["event"],
                time_ms=line["time_ms"],
                insert_id=line["insert_id"] or "",
                step=line["step"] or 0,
                reason=line["reason"],
            )
            for line in answer.explained
        ],
    ).SerializeToString()


def _steps(steps: Sequence[StepResult]) -> list[query_pb2.FunnelStepResult]:
    return [
        query_pb2.FunnelStepResult(
            step=step.step,
            name=step.name,
            count=step.count,
            conversion_from_previous=step.conversion_from_previous,
            conversion_from_first=step.conversion_from_first,
            avg_seconds_from_previous=step.avg_seconds_from_previous,
            median_seconds_from_previous=step.median_seconds_from_previous,
            avg_seconds_from_first=step.avg_seconds_from_first,
            median_seconds_from_first=step.median_seconds_from_first,
            histogram=[
                query_pb2.HistogramBar(up_to_seconds=bar.up_to_seconds, count=bar.count) for bar in step.histogram
            ],
        )
        for step in steps
    ]
