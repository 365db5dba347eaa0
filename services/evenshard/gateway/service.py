"""``QueryService``: requests in, answers with their account out."""

from collections.abc import AsyncIterator
from typing import Any

from evenshard.api.v1 import common_pb2, query_pb2, query_pb2_grpc
from evenshard.gateway.export import Done, Exporter, Piece
from evenshard.gateway.funnel import AnsweredFunnel, answer_funnel
from evenshard.gateway.scatter import SHARE_OF_DEADLINE, Deadline, Scatter
from evenshard.gateway.segmentation import Answered, answer_segmentation
from evenshard.gateway.tracing import answered as note_answered
from evenshard.gateway.tracing import query_span
from evenshard.ports.clock import Clock
from evenshard.runtime.call import current_call
from evenshard.wire.funnel import funnel_query_of, funnel_response
from evenshard.wire.query import (
    Account,
    export_query_of,
    loss_warnings,
    segmentation_query_of,
    segmentation_response,
)
from evenshard.wire.unknown import refuse_unknown

EXPORT_TIMEOUT_MAX_S = 24 * 3600.0


class QueryService(query_pb2_grpc.QueryServiceServicer):
    """Served by gateways."""

    def __init__(self, clock: Clock, scatter: Scatter, exporter: Exporter) -> None:
        self._clock = clock
        self._scatter = scatter
        self._exporter = exporter

    async def QuerySegmentation(
        self, request: query_pb2.QuerySegmentationRequest, context: Any
    ) -> query_pb2.QuerySegmentationResponse:
        started_ms = self._clock.monotonic_ms()
        with query_span(request.tenant, "segmentation") as span:
            refuse_unknown(request)
            query = segmentation_query_of(request)
            deadline = Deadline.in_s(self._clock, current_call().remaining_s() * SHARE_OF_DEADLINE)
            answered = await answer_segmentation(
                self._scatter, request.tenant, query, deadline, allow_partial=request.options.allow_partial
            )
            account = self._account(answered, started_ms)
            note_answered(span, account)
        return segmentation_response(answered.answer, account)

    async def QueryFunnel(self, request: query_pb2.QueryFunnelRequest, context: Any) -> query_pb2.QueryFunnelResponse:
        started_ms = self._clock.monotonic_ms()
        with query_span(request.tenant, "funnel") as span:
            refuse_unknown(request)
            query = funnel_query_of(request)
            deadline = Deadline.in_s(self._clock, current_call().remaining_s() * SHARE_OF_DEADLINE)
            answered = await answer_funnel(
                self._scatter, request.tenant, query, deadline, allow_partial=request.options.allow_partial
            )
            account = self._account(answered, started_ms)
            note_answered(span, account)
        return funnel_response(answered.answer, account)

    def _account(self, answered: Answered | AnsweredFunnel, started_ms: float) -> Account:
        return Account(
            epoch=answered.tenant.placement.epoch,
            answered=answered.scattered.answered,
            missing=answered.scattered.missing,
            data_version=answered.scattered.data_version,
            stats=answered.scattered.stats,
            elapsed_ms=self._clock.monotonic_ms() - started_ms,
            trace_id=current_call().trace_id,
            warnings=answered.warnings,
        )

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


def _warnings(rows_behind: int) -> list[common_pb2.Warning]:
    if not rows_behind:
        return []
    message = "rows arrived before the cursor's place since the export began; they are not in it"
    return [common_pb2.Warning(code="ROWS_BEHIND_CURSOR", message=message, count=rows_behind)]
