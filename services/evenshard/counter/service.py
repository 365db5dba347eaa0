"""``CounterService``: the gRPC edge of counting."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from evenshard.api.v1 import counter_pb2, counter_pb2_grpc
from evenshard.counter.snapshots import Snapshots
from evenshard.directory.tenant import tenant_id
from evenshard.errors import EvenshardError
from evenshard.hotkeys.counting import Counts, KeyCount
from evenshard.ids import TenantId
from evenshard.ports.clock import Clock
from evenshard.runtime.hot_key_reports import HotKeyReports
from evenshard.runtime.metrics import count, is_measuring
from evenshard.runtime.telemetry import links_to, tracer
from evenshard.wire.counting import count_response, events_of, hot_keys_response, keys_of, names_of
from evenshard.wire.hot_key_report import report_response, report_wanted

LIMIT_DEFAULT = 20
LIMIT_MAX = 10_000


class CounterService(counter_pb2_grpc.CounterServiceServicer):
    """Counts in ``pool``, which has one thread: so counting never holds up the loop, and needs no lock."""

    def __init__(
        self,
        counts: Counts,
        clock: Clock,
        pool: ThreadPoolExecutor,
        snapshots: Snapshots | None = None,
        reports: HotKeyReports | None = None,
    ) -> None:
        """Without ``snapshots`` the counts end with the process; without ``reports`` none is made."""
        self._counts = counts
        self._clock = clock
        self._pool = pool
        self._snapshots = snapshots
        self._reports = reports

    async def CountEvents(
        self, request: counter_pb2.CountEventsRequest, context: Any
    ) -> counter_pb2.CountEventsResponse:
        with tracer().start_as_current_span(
            "counter.count",
            links=links_to(request.imports),
            attributes={"evenshard.tenant": request.tenant},
        ) as span:
            arrow_ipc = request.arrow_ipc  # a copy each time it is asked for
            span.set_attribute("evenshard.bytes", len(arrow_ipc))
            return await asyncio.get_running_loop().run_in_executor(
                self._pool, self._count, tenant_id(request.tenant), arrow_ipc, request.count_min
            )

    async def GetCounts(self, request: counter_pb2.GetCountsRequest, context: Any) -> counter_pb2.GetCountsResponse:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._look_up, request)

    async def ListHotKeys(
        self, request: counter_pb2.ListHotKeysRequest, context: Any
    ) -> counter_pb2.ListHotKeysResponse:
        if not 0 <= request.limit <= LIMIT_MAX:
            raise EvenshardError("QUERY_INVALID", f"limit is {request.limit}, it must be 0 to {LIMIT_MAX}")
        if request.count_min < 0:
            raise EvenshardError("QUERY_INVALID", f"count_min is {request.count_min}, it must be at least 0")
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._list, request)

    async def GetHotKeyReport(
        self, request: counter_pb2.GetHotKeyReportRequest, context: Any
    ) -> counter_pb2.GetHotKeyReportResponse:
        wanted = report_wanted(request)
        if self._reports is None:
            raise EvenshardError("UNREACHABLE", "this counter knows no gateway to ask")
        return report_response(await self._reports.report(wanted))

    async def ForgetUsers(
        self, request: counter_pb2.ForgetUsersRequest, context: Any
    ) -> counter_pb2.ForgetUsersResponse:
        tenant, distinct_ids = tenant_id(request.tenant), list(request.distinct_ids)
        await asyncio.get_running_loop().run_in_executor(self._pool, self._counts.forget, tenant, distinct_ids)
        if self._snapshots is not None:
            await self._snapshots.forgotten()
        return counter_pb2.ForgetUsersResponse()

    def _count(self, tenant: TenantId, arrow_ipc: bytes, count_min: int) -> counter_pb2.CountEventsResponse:
        batches = keys_of(arrow_ipc)
        counts = [self._counts.add(tenant, keys, self._clock.now_ms()) for keys in batches]
        if is_measuring():
            count("evenshard.counter.events", sum(events_of(keys) for keys in batches))
        if self._snapshots is not None:
            self._snapshots.counted()
        return count_response(zip(batches, counts, strict=True), count_min)

    def _look_up(self, request: counter_pb2.GetCountsRequest) -> counter_pb2.GetCountsResponse:
        counts = self._counts.counts_of(tenant_id(request.tenant), names_of(request))
        return counter_pb2.GetCountsResponse(counts=counts.tolist())

    def _list(self, request: counter_pb2.ListHotKeysRequest) -> counter_pb2.ListHotKeysResponse:
        tenant = tenant_id(request.tenant) if request.tenant else None
        limit, hash_next = request.limit or LIMIT_DEFAULT, 0
        keys: Sequence[KeyCount]
        if request.count_min:
            keys, hash_next = self._counts.near(tenant, request.count_min, request.hash_from, limit)
        else:
            keys = self._counts.top(tenant, limit)
        counts = self._counts
        return hot_keys_response(keys, counts.missing_max(keys), counts.start_ms, counts.listed_from, hash_next)
