"""``QueryService``: requests in, answers with their account out."""

from collections.abc import AsyncIterator
from typing import Any

from evenshard.api.v1 import common_pb2, query_pb2, query_pb2_grpc
from evenshard.gateway.browse import AnsweredSchema, AnsweredTimeline, answer_schema, answer_timeline
from evenshard.gateway.cohorts import Cohorts
from evenshard.gateway.export import Done, Exporter, Piece
from evenshard.gateway.flows import AnsweredFlows, answer_flows
from evenshard.gateway.funnel import AnsweredFunnel, answer_funnel
from evenshard.gateway.retention import AnsweredRetention, answer_retention
from evenshard.gateway.scatter import SHARE_OF_DEADLINE, Deadline, Scatter
from evenshard.gateway.segmentation import Answered, answer_segmentation
from evenshard.gateway.tracing import answered as note_answered
from evenshard.gateway.tracing import query_span
from evenshard.ports.clock import Clock
from evenshard.runtime.call import current_call
from evenshard.wire.browse import schema_query_of, schema_response, timeline_query_of, timeline_response
from evenshard.wire.cohorts import cohort_message, definition_text
from evenshard.wire.flows import flows_query_of, flows_response
from evenshard.wire.funnel import funnel_query_of, funnel_response
from evenshard.wire.query import Account, export_query_of, segmentation_query_of, segmentation_response
from evenshard.wire.retention import retention_query_of, retention_response
from evenshard.wire.unknown import refuse_unknown

EXPORT_TIMEOUT_MAX_S = 24 * 3600.0


class QueryService(query_pb2_grpc.QueryServiceServicer):
    """Served by gateways."""

    def __init__(self, clock: Clock, scatter: Scatter, exporter: Exporter, cohorts: Cohorts) -> None:
        self._clock = clock
        self._scatter = scatter
        self._exporter = exporter
        self._cohorts = cohorts

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

    async def QueryRetention(
        self, request: query_pb2.QueryRetentionRequest, context: Any
    ) -> query_pb2.QueryRetentionResponse:
        started_ms = self._clock.monotonic_ms()
        with query_span(request.tenant, "retention") as span:
            refuse_unknown(request)
            query = retention_query_of(request)
            deadline = Deadline.in_s(self._clock, current_call().remaining_s() * SHARE_OF_DEADLINE)
            answered = await answer_retention(
                self._scatter,
                request.tenant,
                query,
                self._clock.now_ms(),
                deadline,
                allow_partial=request.options.allow_partial,
            )
            account = self._account(answered, started_ms)
            note_answered(span, account)
        return retention_response(answered.answer, account)

    async def QueryFlows(self, request: query_pb2.QueryFlowsRequest, context: Any) -> query_pb2.QueryFlowsResponse:
        started_ms = self._clock.monotonic_ms()
        with query_span(request.tenant, "flows") as span:
            refuse_unknown(request)
            query = flows_query_of(request)
            deadline = Deadline.in_s(self._clock, current_call().remaining_s() * SHARE_OF_DEADLINE)
            answered = await answer_flows(
                self._scatter, request.tenant, query, deadline, allow_partial=request.options.allow_partial
            )
            account = self._account(answered, started_ms)
            note_answered(span, account)
        return flows_response(answered.answer, account)

    async def GetSchema(self, request: query_pb2.GetSchemaRequest, context: Any) -> query_pb2.GetSchemaResponse:
        started_ms = self._clock.monotonic_ms()
        with query_span(request.tenant, "schema") as span:
            refuse_unknown(request)
            query = schema_query_of(request)
            deadline = Deadline.in_s(self._clock, current_call().remaining_s() * SHARE_OF_DEADLINE)
            answered = await answer_schema(
                self._scatter, request.tenant, query, deadline, allow_partial=request.options.allow_partial
            )
            account = self._account(answered, started_ms)
            note_answered(span, account)
        return schema_response(answered.answer, account)

    async def GetTimeline(self, request: query_pb2.GetTimelineRequest, context: Any) -> query_pb2.GetTimelineResponse:
        started_ms = self._clock.monotonic_ms()
        with query_span(request.tenant, "timeline") as span:
            refuse_unknown(request)
            query = timeline_query_of(request)
            deadline = Deadline.in_s(self._clock, current_call().remaining_s() * SHARE_OF_DEADLINE)
            answered = await answer_timeline(
                self._scatter, request.tenant, query, deadline, allow_partial=request.options.allow_partial
            )
            account = self._account(answered, started_ms)
            note_answered(span, account)
        return timeline_response(answered.events, answered.next_page_token, account)

    def _account(
        self,
        answered: (Answered | AnsweredFunnel | AnsweredRetention | AnsweredFlows | AnsweredSchema | AnsweredTimeline),
        started_ms: float,
    ) -> Account:
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

    async def SaveCohort(self, request: query_pb2.SaveCohortRequest, context: Any) -> query_pb2.SaveCohortResponse:
        refuse_unknown(request)
        text = definition_text(request.definition)
        saved = await self._cohorts.save(request.tenant, request.name, text, self._deadline())
        return query_pb2.SaveCohortResponse(cohort=cohort_message(saved.record, saved.users))

    async def ListCohorts(self, request: query_pb2.ListCohortsRequest, context: Any) -> query_pb2.ListCohortsResponse:
        refuse_unknown(request)
        found = await self._cohorts.all(request.tenant, self._deadline())
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
                    case Done(cursor=cursor, rows_behind=rows_behind):
                        span.set_attributes({"evenshard.rows": rows_sent, "evenshard.bytes": bytes_sent})
                        yield query_pb2.ExportEventsResponse(
                            cursor=cursor, complete=True, trace_id=call.trace_id, warnings=_warnings(rows_behind)
                        )


def _warnings(rows_behind: int) -> list[common_pb2.Warning]:
    if not rows_behind:
        return []
    message = "rows arrived before the cursor's place since the export began; they are not in it"
    return [common_pb2.Warning(code="ROWS_BEHIND_CURSOR", message=message, count=rows_behind)]
