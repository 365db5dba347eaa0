"""The client's look at load: shards, hot keys, slow queries, and the reports of hot keys."""

import asyncio
from datetime import date
from typing import Any

from evenshard.api.v1 import admin_pb2, counter_pb2, debug_pb2
from evenshard.client.async_calls import AsyncCalls
from evenshard.client.heat import (
    COUNTED_KEYS_MIN,
    shards_document,
    slow_queries_document,
    top_document,
    traces_document,
)
from evenshard.directory.report_record import ReportRecord
from evenshard.errors import EvenshardError
from evenshard.wire import rpcs
from evenshard.wire.hot_key_report import report_document
from evenshard.wire.report_records import report_record_message, report_record_of


class AsyncHeat(AsyncCalls):
    """Asks the router, who asks the others."""

    async def shards(self) -> dict[str, Any]:
        """Every shard with its load in the last seconds, and how uneven that is."""
        return shards_document(await self._call(self._router, rpcs.LIST_SHARDS, admin_pb2.ListShardsRequest()))

    async def slow_queries(
        self, by: str = "", *, limit: int = 20, tenant: str | None = None, each: bool = False
    ) -> dict[str, Any]:
        """Queries that took longer than ``slow_query_ms``, in groups: ``by`` shard, tenant or event; empty: by all of
        them and the kind. With ``each`` the queries too, with their traces, the newest first."""
        request = debug_pb2.ListSlowQueriesRequest(by=by, limit=limit, tenant=tenant or "", each=each)
        answer = await self._call(self._router, rpcs.LIST_SLOW_QUERIES, request)
        return slow_queries_document(answer, each=each)

    async def traces(
        self, trace_id: str | None = None, *, limit: int = 10, failed: bool = False, background: bool = False
    ) -> dict[str, Any]:
        """The slowest traces of the last hour, the slowest first, or the newest that ``failed``; with ``background``
        also what nobody waited for. Or one, by its id."""
        request = debug_pb2.ListTracesRequest(
            trace_ids=[trace_id] if trace_id else [], limit=limit, failed=failed, background=background
        )
        return traces_document(await self._call(self._router, rpcs.LIST_TRACES, request))

    async def top(self, *, limit: int = 20, tenant: str | None = None) -> dict[str, Any]:
        """The keys with most events, every shard, and what is wrong: which key or which shard is hot, and why."""
        request = counter_pb2.ListHotKeysRequest(tenant=tenant or "", limit=max(limit, COUNTED_KEYS_MIN))
        counting = asyncio.ensure_future(self._counted(request))
        try:
            shards = await self._call(self._router, rpcs.LIST_SHARDS, admin_pb2.ListShardsRequest())
            return top_document(shards, await counting, limit)
        finally:
            counting.cancel()
            await asyncio.gather(counting, return_exceptions=True)

    async def _counted(self, request: counter_pb2.ListHotKeysRequest) -> counter_pb2.ListHotKeysResponse | None:
        """None: no counter answers; what shards tell is enough to go on with."""
        try:
            return await self._call(self._router, rpcs.LIST_HOT_KEYS, request, min(self.timeout, 3.0))
        except EvenshardError as error:
            if not error.retryable:
                raise
            return None

    async def hot_key_report(
        self, from_date: str | date, to_date: str | date, *, tenant: str | None = None, timeout: float | None = None
    ) -> dict[str, Any]:
        """Which keys became hot in some UTC days, both inclusive, what their events have in common, and what to do."""
        request = counter_pb2.GetHotKeyReportRequest(
            tenant=self._tenant_of(tenant), from_date=str(from_date), to_date=str(to_date)
        )
        return report_document(await self._call(self._router, rpcs.GET_HOT_KEY_REPORT, request, timeout))

    async def claim_report(self, tenant: str, week: str, claimant: str) -> tuple[bool, ReportRecord]:
        """Whether the caller is to send a tenant's report of an ISO week, and what is written down of it."""
        request = admin_pb2.ClaimReportRequest(tenant=tenant, week=week, claimant=claimant)
        answer = await self._call(self._router, rpcs.CLAIM_REPORT, request)
        return answer.claimed, report_record_of(answer.record)

    async def record_report(self, outcome: ReportRecord) -> ReportRecord:
        """Writes down what became of a report that ``claim_report`` gave to its claimant."""
        request = admin_pb2.RecordReportRequest(record=report_record_message(outcome))
        return report_record_of((await self._call(self._router, rpcs.RECORD_REPORT, request)).record)
