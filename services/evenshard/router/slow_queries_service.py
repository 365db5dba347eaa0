"""``DebugService`` of a router: the slow queries and the traces of the whole cluster."""

import asyncio
from typing import Any, Final

from evenshard.api.v1 import debug_pb2, debug_pb2_grpc
from evenshard.directory.service import ServiceRecord
from evenshard.errors import EvenshardError
from evenshard.ports.peers import Peers
from evenshard.router.cluster_traces import ClusterTraces
from evenshard.runtime.call import current_call
from evenshard.runtime.services import ServiceView
from evenshard.runtime.traces import keep, own_traces
from evenshard.wire.rpcs import LIST_SLOW_QUERIES
from evenshard.wire.slow_queries import by_of, groups_of, limit_of, slow_query_of

ASK_TIMEOUT_S: Final = 5.0
CALLS_AT_ONCE: Final = 64


class ClusterDebugService(debug_pb2_grpc.DebugServiceServicer):
    """Asks every shard and gateway that the directory lists; who does not answer is named."""

    def __init__(self, name: str, peers: Peers, services: ServiceView) -> None:
        self._peers = peers
        self._services = services
        self._traces = ClusterTraces(name, peers, services)

    async def ListTraces(self, request: debug_pb2.ListTracesRequest, context: Any) -> debug_pb2.ListTracesResponse:
        if request.own:
            return own_traces(request)
        return await self._traces.find(request, current_call().remaining_s())

    async def KeepTraces(self, request: debug_pb2.KeepTracesRequest, context: Any) -> debug_pb2.KeepTracesResponse:
        return keep(request)

    async def ListSlowQueries(
        self, request: debug_pb2.ListSlowQueriesRequest, context: Any
    ) -> debug_pb2.ListSlowQueriesResponse:
        by, limit = by_of(request.by), limit_of(request)
        timeout_s = max(0.05, min(ASK_TIMEOUT_S, 0.8 * current_call().remaining_s()))
        asked = debug_pb2.ListSlowQueriesRequest(tenant=request.tenant, each=True)
        at_once = asyncio.Semaphore(CALLS_AT_ONCE)
        found: dict[str, list[debug_pb2.SlowQuery]] = {"shard": [], "gateway": []}
        missing: list[str] = []

        async def ask(record: ServiceRecord) -> None:
            try:
                async with at_once:
                    answer = await self._peers.call(record.address, LIST_SLOW_QUERIES, asked, timeout_s=timeout_s)
                found[record.kind] += answer.queries
            except EvenshardError:
                missing.append(record.name)  # said in the answer

        async with asyncio.TaskGroup() as group:
            for record in (*self._services.of_kind("shard"), *self._services.of_kind("gateway")):
                group.create_task(ask(record))
        shards, gateways = (list(map(slow_query_of, found[kind])) for kind in ("shard", "gateway"))
        newest = sorted([*found["shard"], *found["gateway"]], key=lambda query: -query.at_ms) if request.each else []
        return debug_pb2.ListSlowQueriesResponse(
            shards=await asyncio.to_thread(groups_of, shards, by, limit),
            gateways=await asyncio.to_thread(groups_of, gateways, by, limit),
            queries=newest,
            missing=sorted(missing),
        )
