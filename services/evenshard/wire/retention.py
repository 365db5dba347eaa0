"""Retention: protobuf ↔ ours, on the gateway's side."""

from evenshard.api.v1 import query_pb2
from evenshard.queries.retention_answer import RetentionAnswer, Triangle
from evenshard.queries.retention_model import RetentionQuery, retention_query
from evenshard.queries.steps import Step
from evenshard.wire.query import group_value


def retention_query_of(request: query_pb2.QueryRetentionRequest) -> RetentionQuery:
    """Raises ``QUERY_INVALID`` or ``RANGE_INVALID``, naming the field."""
    returning = getattr(request, "return")  # a word of Python's
    return retention_query(
        from_date=request.from_date,
        to_date=request.to_date,
        birth=step_of(request.birth) if request.HasField("birth") else None,
        returning=step_of(returning) if request.HasField("return") else None,
        unit=request.unit,
        buckets=request.buckets,
        mode=request.mode,
        align=request.align,
        birth_scope=request.birth_scope,
        where=request.where,
        by=request.by,
        limit=request.limit,
        include_duplicates=request.options.include_duplicates,
    )


def step_of(step: query_pb2.FunnelStep) -> Step:
    return Step(tuple(step.events), step.where)


def retention_body(answer: RetentionAnswer) -> bytes:
    """A ``QueryRetentionResponse`` without its account."""
    return query_pb2.QueryRetentionResponse(
        cohorts=_cohorts(answer.overall),
        average=_average(answer.overall),
        groups=[
            query_pb2.RetentionGroup(
                by=[group_value(value) for value in group.by],
                cohorts=_cohorts(group.triangle),
                average=_average(group.triangle),
            )
            for group in answer.groups
        ],
    ).SerializeToString()


def _cohorts(triangle: Triangle) -> list[query_pb2.RetentionCohort]:
    return [
        query_pb2.RetentionCohort(
            start=cohort.start, size=cohort.size, returned=cohort.returned, incomplete=cohort.incomplete
        )
        for cohort in triangle.cohorts
    ]


def _average(triangle: Triangle) -> list[query_pb2.RetentionShare]:
    return [query_pb2.RetentionShare(share=share) for share in triangle.average]
