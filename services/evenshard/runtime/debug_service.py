"""``DebugService`` of one process: its own slow queries and traces. A counter answers no queries."""

from typing import Any, Literal

from evenshard.api.v1 import debug_pb2, debug_pb2_grpc
from evenshard.hotkeys.slow_queries import SlowQueries
from evenshard.runtime.traces import keep, own_traces
from evenshard.wire.slow_queries import groups_of, limit_of, slow_query_message


class DebugService(debug_pb2_grpc.DebugServiceServicer):
    """Holds no state of its own."""

    def __init__(self, slow: SlowQueries, kind: Literal["shard", "gateway", "counter"]) -> None:
        self._slow = slow
        self._kind = kind

    async def ListSlowQueries(
        self, request: debug_pb2.ListSlowQueriesRequest, context: Any
    ) -> debug_pb2.ListSlowQueriesResponse:
        queries = [each for each in self._slow.newest() if not request.tenant or each.tenant == request.tenant]
        groups = groups_of(queries, request.by, limit_of(request))
        return debug_pb2.ListSlowQueriesResponse(
            shards=groups if self._kind == "shard" else [],
            gateways=groups if self._kind == "gateway" else [],
            queries=map(slow_query_message, queries) if request.each else [],
        )

    async def ListTraces(self, request: debug_pb2.ListTracesRequest, context: Any) -> debug_pb2.ListTracesResponse:
        return own_traces(request)

    async def KeepTraces(self, request: debug_pb2.KeepTracesRequest, context: Any) -> debug_pb2.KeepTracesResponse:
        return keep(request)
