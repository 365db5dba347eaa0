"""Schema and timeline: protobuf ↔ ours, on the gateway's side."""

from collections.abc import Sequence

from evenshard.api.v1 import query_pb2
from evenshard.queries.browse_model import SchemaQuery, TimelineQuery, schema_query, timeline_query
from evenshard.queries.schema_answer import SchemaAnswer
from evenshard.wire.query import Account, group_value, meta


def schema_query_of(request: query_pb2.GetSchemaRequest) -> SchemaQuery:
    """Raises ``QUERY_INVALID`` or ``RANGE_INVALID``, naming the field."""
    return schema_query(
        from_date=request.from_date,
        to_date=request.to_date,
        include_hidden=request.include_hidden,
        include_duplicates=request.options.include_duplicates,
    )


def timeline_query_of(request: query_pb2.GetTimelineRequest) -> TimelineQuery:
    """Raises ``QUERY_INVALID`` or ``RANGE_INVALID``, naming the field."""
    return timeline_query(
        from_date=request.from_date,
        to_date=request.to_date,
        user=request.user,
        where=request.where,
        page_size=request.page_size,
        page_token=request.page_token,
        include_duplicates=request.options.include_duplicates,
    )


def schema_response(answer: SchemaAnswer, account: Account) -> query_pb2.GetSchemaResponse:
    return query_pb2.GetSchemaResponse(
        events=[
            query_pb2.SchemaEvent(
                name=event.name, display_name=event.display_name, count=event.count, hidden=event.hidden
            )
            for event in answer.events
        ],
        properties=[
            query_pb2.SchemaProperty(
                name=each.name,
                display_name=each.display_name,
                types=each.types,
                top_values=[group_value(value) for value in each.top_values],
            )
            for each in answer.properties
        ],
        meta=meta(account),
    )


def timeline_response(events: Sequence[str], next_page_token: str, account: Account) -> query_pb2.GetTimelineResponse:
    return query_pb2.GetTimelineResponse(events=events, next_page_token=next_page_token, meta=meta(account))
