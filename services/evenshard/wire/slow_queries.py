"""Slow queries and their groups: protobuf ↔ ours."""

from collections.abc import Iterable
from typing import Any, Final

from evenshard.api.v1 import debug_pb2
from evenshard.errors import EvenshardError, FieldFault
from evenshard.hotkeys.slow_queries import GROUPINGS, By, SlowGroup, SlowQuery, grouped

LIMIT_DEFAULT: Final = 20
LIMIT_MAX: Final = 10_000


def limit_of(request: debug_pb2.ListSlowQueriesRequest) -> int:
    """Raises ``QUERY_INVALID``."""
    if not 0 <= request.limit <= LIMIT_MAX:
        raise _wrong("limit", f"{request.limit} is not between 0 and {LIMIT_MAX}")
    return request.limit or LIMIT_DEFAULT


def by_of(text: str) -> By:
    """Raises ``QUERY_INVALID``."""
    for one in GROUPINGS:
        if text == one:
            return one
    raise _wrong("by", f"{text!r} is none of shard, tenant, event")


def groups_of(queries: Iterable[SlowQuery], by: str, limit: int) -> list[debug_pb2.SlowQueryGroup]:
    """Raises ``QUERY_INVALID`` for a grouping there is not."""
    return [_group_message(each) for each in grouped(queries, by_of(by), limit)]


def slow_query_message(query: SlowQuery) -> debug_pb2.SlowQuery:
    return debug_pb2.SlowQuery(
        at_ms=query.at_ms,
        place=query.place,
        tenant=query.tenant,
        kind=query.kind,
        event=query.event,
        rows=query.rows,
        wait_ms=query.wait_ms,
        run_ms=query.run_ms,
        trace_id=query.trace_id,
        failed=query.failed,
    )


def slow_query_of(message: debug_pb2.SlowQuery) -> SlowQuery:
    return SlowQuery(
        message.at_ms,
        message.place,
        message.tenant,
        message.kind,
        message.event,
        message.rows,
        message.wait_ms,
        message.run_ms,
        message.trace_id,
        message.failed,
    )


def group_document(group: debug_pb2.SlowQueryGroup, place: str) -> dict[str, Any]:
    """As the contract writes it; ``place`` is what the field of where it was is called."""
    return {
        place: group.place if group.HasField("place") else None,
        "tenant": group.tenant if group.HasField("tenant") else None,
        "kind": group.kind if group.HasField("kind") else None,
        "event": group.event if group.HasField("event") else None,
        "count": group.count,
        "p99_ms": group.p99_ms,
        "max_ms": group.max_ms,
        "wait_p99_ms": group.wait_p99_ms,
        "run_p99_ms": group.run_p99_ms,
        "rows": group.rows,
    }


def slow_query_document(query: debug_pb2.SlowQuery) -> dict[str, Any]:
    """One query; ``place`` is a shard or a gateway."""
    return {
        "at_ms": query.at_ms,
        "place": query.place,
        "tenant": query.tenant,
        "kind": query.kind,
        "event": query.event,
        "rows": query.rows,
        "wait_ms": query.wait_ms,
        "run_ms": query.run_ms,
        "failed": query.failed,
        "trace_id": query.trace_id,
    }


def _group_message(group: SlowGroup) -> debug_pb2.SlowQueryGroup:
    return debug_pb2.SlowQueryGroup(
        place=group.place,
        tenant=group.tenant,
        kind=group.kind,
        event=group.event,
        count=group.count,
        p99_ms=group.p99_ms,
        max_ms=group.max_ms,
        wait_p99_ms=group.wait_p99_ms,
        run_p99_ms=group.run_p99_ms,
        rows=group.rows,
    )


def _wrong(field: str, problem: str) -> EvenshardError:
    return EvenshardError("QUERY_INVALID", f"{field}: {problem}", fields=(FieldFault(field, problem),))
