"""``QueryService``: requests in, answers with their account out."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, Protocol, TypeVar, cast

from evenshard.api.v1 import common_pb2, query_pb2, query_pb2_grpc
from evenshard.directory.tenant import Tenant
from evenshard.gateway.admission import Admission
from evenshard.gateway.browse import answer_schema, answer_timeline
from evenshard.gateway.cohorts import Cohorts
from evenshard.gateway.export import Done, Exporter, Piece
from evenshard.gateway.flows import answer_flows
from evenshard.gateway.funnel import answer_funnel
from evenshard.gateway.lru import Lru
from evenshard.gateway.measuring import count_answer
from evenshard.gateway.retention import answer_retention
from evenshard.gateway.scatter import SHARE_OF_DEADLINE, Deadline, Scatter, Scattered, Spent, Terms
from evenshard.gateway.segmentation import answer_segmentation
from evenshard.gateway.slowness import Slowness
from evenshard.gateway.tracing import answered as note_answered
from evenshard.gateway.tracing import query_span
from evenshard.ports.clock import Clock
from evenshard.queries.answer import incomplete_buckets
from evenshard.runtime.call import current_call
from evenshard.wire.browse import schema_query_of, schema_response, timeline_query_of, timeline_response
from evenshard.wire.cohorts import cohort_message, definition_text
from evenshard.wire.flows import flows_query_of
from evenshard.wire.funnel import funnel_query_of
from evenshard.wire.query import (
    Account,
    export_query_of,
    loss_warnings,
    meta,
    segmentation_query_of,
)
from evenshard.wire.retention import retention_query_of
from evenshard.wire.unknown import refuse_unknown

EXPORT_TIMEOUT_MAX_S = 24 * 3600.0
READINGS_BYTES_MAX: Final = 4 << 20
"""Requests that are remembered with what they ask, so that one that comes again is not read again."""
_READING_COPIES: Final = 16
"""A query is objects: so many times what its request has as bytes."""
_READING_BYTES: Final = 1 << 10
"""Of the smallest one, about."""


class _Answered(Protocol):
    """An answer of any kind, and what it came from."""

    @property
    def tenant(self) -> Tenant: ...
    @property
    def scattered(self) -> Scattered: ...
    @property
    def warnings(self) -> Sequence[tuple[str, str]]:
        """Codes and messages."""
        ...


_AnAnswer = TypeVar("_AnAnswer", bound=_Answered)
_Query = TypeVar("_Query")
_Result = TypeVar("_Result")


class QueryService(query_pb2_grpc.QueryServiceServicer):
    """Served by gateways."""

    def __init__(
        self,
        clock: Clock,
        scatter: Scatter,
        exporter: Exporter,
        admission: Admission,
        cohorts: Cohorts,
        slowness: Slowness,
    ) -> None:
        self._clock = clock
        self._admission = admission
        self._scatter = scatter
        self._exporter = exporter
        self._cohorts = cohorts
        self._slowness = slowness
        self._readings: Lru[tuple[str, bytes], Any] = Lru(READINGS_BYTES_MAX)

    async def QuerySegmentation(
        self, request: query_pb2.QuerySegmentationRequest, context: Any
    ) -> query_pb2.QuerySegmentationResponse:
        answered, account = await self._ask("segmentation", request, segmentation_query_of, answer_segmentation)
        incomplete = incomplete_buckets(answered.plan, self._clock.now_ms())
        response = query_pb2.QuerySegmentationResponse(meta=meta(account), incomplete_buckets=incomplete)
        response.MergeFromString(answered.body)
        return response

    async def QueryFunnel(self, request: query_pb2.QueryFunnelRequest, context: Any) -> query_pb2.QueryFunnelResponse:
        answered, account = await self._ask("funnel", request, funnel_query_of, answer_funnel)
        response = query_pb2.QueryFunnelResponse(meta=meta(account))
        response.MergeFromString(answered.body)
        return response

    async def QueryRetention(
        self, request: query_pb2.QueryRetentionRequest, context: Any
    ) -> query_pb2.QueryRetentionResponse:
        answer = partial(answer_retention, now_ms=self._clock.now_ms())
        answered, account = await self._ask("retention", request, retention_query_of, answer)
        response = query_pb2.QueryRetentionResponse(meta=meta(account))
        response.MergeFromString(answered.body)
        return response

    async def QueryFlows(self, request: query_pb2.QueryFlowsRequest, context: Any) -> query_pb2.QueryFlowsResponse:
        answered, account = await self._ask("flows", request, flows_query_of, answer_flows)
        response = query_pb2.QueryFlowsResponse(meta=meta(account))
        response.MergeFromString(answered.body)
        return response

    async def GetSchema(self, request: query_pb2.GetSchemaRequest, context: Any) -> query_pb2.GetSchemaResponse:
        answered, account = await self._ask("schema", request, schema_query_of, answer_schema)
        return schema_response(answered.answer, account)

    async def GetTimeline(self, request: query_pb2.GetTimelineRequest, context: Any) -> query_pb2.GetTimelineResponse:
        answered, account = await self._ask("timeline", request, timeline_query_of, answer_timeline)
        return timeline_response(answered.events, answered.next_page_token, account)

    async def _ask(
        self,
        kind: str,
        request: Any,
        read: Callable[[Any], _Query],
        answer: Callable[[Scatter, str, _Query, Terms], Awaitable[_AnAnswer]],
    ) -> tuple[_AnAnswer, Account]:
        """Reads a request, answers it when it is the tenant's turn, and accounts for the answer. An equal request that
        waits for its turn is the same."""
        started_ms = self._clock.monotonic_ms()
        with query_span(request.tenant, kind) as span, self._slowness.noting(request, kind) as asked:
            question = _question(kind, request)
            query = self._read(question, request, read)
            options = request.options
            terms = Terms(
                self._deadline(), options.allow_partial, not options.no_cache, restore_hot=options.restore_hot
            )

            async def work() -> tuple[_AnAnswer, Spent]:
                return await answer(self._scatter, request.tenant, query, terms), terms.spent

            answered, spent = await self._admitted(question, request.tenant, terms, lambda: asked.begun(work()))
            asked.rows = spent.rows
            account = self._account(answered, spent, started_ms)
            note_answered(span, account, self._scatter.directory_revision)
            count_answer(account)
        return answered, account

    def _read(self, question: tuple[str, bytes], request: Any, read: Callable[[Any], _Query]) -> _Query:
        """What a request asks; one that is wrong is refused anew each time."""
        found = self._readings.get(question)
        if found is None:
            refuse_unknown(request)
            found = read(request)
            self._readings.put(question, found, _READING_COPIES * len(question[1]) + _READING_BYTES)
        return cast(_Query, found)

    async def _admitted(
        self, question: tuple[str, bytes], tenant: str, terms: Terms, work: Callable[[], Awaitable[_Result]]
    ) -> _Result:
        """What ``work`` gives when it is the tenant's turn; what shards read for it is paid for, whatever comes of it.
        Of equal requests that wait only the first one's is done."""
        try:
            return await self._admission.run(tenant, question, terms.deadline, work)
        finally:
            self._admission.paid(tenant, terms.spent.bytes)

    def _account(self, answered: _Answered, spent: Spent, started_ms: float) -> Account:
        stats = answered.scattered.stats
        return Account(
            epoch=answered.tenant.placement.epoch,
            answered=answered.scattered.answered,
            missing=answered.scattered.missing,
            data_version=answered.scattered.data_version,
            stats=replace(stats, rows_scanned=spent.rows, bytes_scanned=spent.bytes),
            elapsed_ms=self._clock.monotonic_ms() - started_ms,
            trace_id=current_call().trace_id,
            from_cache=answered.scattered.from_cache,
            warnings=answered.warnings,
        )

    async def SaveCohort(self, request: query_pb2.SaveCohortRequest, context: Any) -> query_pb2.SaveCohortResponse:
        refuse_unknown(request)
        text, terms = definition_text(request.definition), Terms(self._deadline())
        saved = await self._admitted(
            _question("save cohort", request),
            request.tenant,
            terms,
            lambda: self._cohorts.save(request.tenant, request.name, text, terms),
        )
        return query_pb2.SaveCohortResponse(cohort=cohort_message(saved.record, saved.users))

    async def ListCohorts(self, request: query_pb2.ListCohortsRequest, context: Any) -> query_pb2.ListCohortsResponse:
        refuse_unknown(request)
        terms = Terms(self._deadline())
        question = _question("cohorts", request)
        found = await self._admitted(question, request.tenant, terms, lambda: self._cohorts.all(request.tenant, terms))
        return query_pb2.ListCohortsResponse(cohorts=[cohort_message(each.record, each.users) for each in found])

    async def DeleteCohort(
        self, request: query_pb2.DeleteCohortRequest, context: Any
    ) -> query_pb2.DeleteCohortResponse:
        refuse_unknown(request)
        await self._cohorts.delete(request.tenant, request.name, self._deadline())
        return query_pb2.DeleteCohortResponse()

    def _deadline(self) -> Deadline:
        return Deadline.in_s(self._clock, current_call().remaining_s() * SHARE_OF_DEADLINE)

    async def ExportEvents(
        self, request: query_pb2.ExportEventsRequest, context: Any
    ) -> AsyncIterator[query_pb2.ExportEventsResponse]:
        call = current_call()
        seconds = min(call.remaining_s() * SHARE_OF_DEADLINE, EXPORT_TIMEOUT_MAX_S)
        rows_sent = bytes_sent = 0
        with query_span(request.tenant, "export") as span:
            refuse_unknown(request)
            query = export_query_of(request)
            async for step in self._exporter.run(query, request.cursor, Deadline.in_s(self._clock, seconds)):
                match step:
                    case Piece(payload=payload, rows=rows, cursor=cursor):
                        rows_sent, bytes_sent = rows_sent + rows, bytes_sent + len(payload)
                        yield query_pb2.ExportEventsResponse(
                            payload=payload, rows=rows, cursor=cursor, trace_id=call.trace_id
                        )
                    case Done(cursor=cursor, rows_behind=rows_behind, rows_given_up=rows_given_up):
                        span.set_attributes({"evenshard.rows": rows_sent, "evenshard.bytes": bytes_sent})
                        yield query_pb2.ExportEventsResponse(
                            cursor=cursor,
                            complete=True,
                            trace_id=call.trace_id,
                            warnings=[*_warnings(rows_behind), *loss_warnings(rows_given_up)],
                        )


def _question(kind: str, request: Any) -> tuple[str, bytes]:
    """All that a request says: equal ones have equal answers at the same time. What this version does not know is
    part of it."""
    return kind, request.SerializeToString(deterministic=True)


def _warnings(rows_behind: int) -> list[common_pb2.Warning]:
    if not rows_behind:
        return []
    message = "rows arrived before the cursor's place since the export began; they are not in it"
    return [common_pb2.Warning(code="ROWS_BEHIND_CURSOR", message=message, count=rows_behind)]
