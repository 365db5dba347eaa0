"""The questions that a fake cluster answers, from the rows it has."""

import json
from collections.abc import Iterator
from typing import Any

import grpc
import pyarrow as pa

from evenshard.api.v1 import common_pb2, query_pb2, query_pb2_grpc
from evenshard.errors import EvenshardError
from evenshard.queries.values import JsonText
from evenshard.testing.fake_calls import TRACE_ID, Row, refuse
from evenshard.testing.fake_state import FakeState
from evenshard.wire.query import group_value


class FakeQueries(query_pb2_grpc.QueryServiceServicer):
    def __init__(self, cluster: FakeState) -> None:
        self.cluster = cluster

    def QuerySegmentation(self, request: Any, context: Any) -> Any:
        self.cluster.queries.append(request)
        if self.cluster.query_script:
            refuse(context, self.cluster.query_script.pop(0))
        rows = self.cluster.rows_of(request.tenant)
        answer = query_pb2.QuerySegmentationResponse(
            buckets=[request.from_date],
            meta=common_pb2.Meta(
                complete=not request.options.allow_partial,
                placement_epoch=1,
                data_version="v1",
                shards=2,
                cache="miss",
                elapsed_ms=0.5,
                trace_id=TRACE_ID,
                rows_scanned=len(rows),
                warnings=[common_pb2.Warning(code="FAKE", message="no real cluster")],
            ),
        )
        groups: dict[str, int] = {}
        for row in rows:
            group = json.dumps([row.get(name, row.get(name[1:])) for name in request.by])
            groups[group] = groups.get(group, 0) + 1
        for group, count in sorted(groups.items(), key=lambda each: (-each[1], each[0])):
            values = [_group_value(value) for value in json.loads(group)]
            measured = query_pb2.MeasureValue(int64_value=count)
            answer.series.add(by=values, values=[measured], overall=measured)
        return answer

    def QueryFunnel(self, request: Any, context: Any) -> Any:
        """Of eight users who enter half go on to each next step, by ten seconds; one group is that of no value. Of the
        user who is explained there is one event for each step but the last, and one that excludes."""
        self.cluster.funnels.append(request)
        if self.cluster.query_script:
            refuse(context, self.cluster.query_script.pop(0))
        steps = []
        for number, step in enumerate(request.steps):
            result = query_pb2.FunnelStepResult(step=number + 1, count=8 >> number, conversion_from_first=0.5**number)
            if request.order != "any":
                result.name = "|".join(step.events) or "*"
            if number:
                result.histogram.append(query_pb2.HistogramBar(up_to_seconds=10.0 * number, count=8 >> number))
                result.conversion_from_previous = 0.5
                result.avg_seconds_from_previous = result.median_seconds_from_previous = 10.0
            steps.append(result)
        meta = common_pb2.Meta(
            complete=not request.options.allow_partial, placement_epoch=1, shards=2, cache="miss", trace_id=TRACE_ID
        )
        group = query_pb2.FunnelGroup(by=[query_pb2.GroupValue() for _ in request.by], steps=steps)
        explain = [
            query_pb2.ExplainedEvent(event=step.name, time_ms=step.step, step=step.step, reason="fills it")
            for step in steps[:-1]
        ]
        explain.append(query_pb2.ExplainedEvent(event="X", time_ms=9, insert_id="x", reason="excluded here"))
        return query_pb2.QueryFunnelResponse(
            overall=query_pb2.FunnelSteps(steps=steps),
            groups=[group] if request.by else [],
            meta=meta,
            explain=explain if request.explain_user else [],
        )

    def GetSchema(self, request: Any, context: Any) -> Any:
        """Two events and two properties; the rewritten ones too if hidden ones are asked for."""
        self.cluster.schemas.append(request)
        if self.cluster.query_script:
            refuse(context, self.cluster.query_script.pop(0))
        events = [("view", "view", 1200, False), ("$hotshard_events", "Hotshard Events", 3, True)]
        values = [query_pb2.GroupValue(string_value="py"), query_pb2.GroupValue(double_value=2.5)]
        return query_pb2.GetSchemaResponse(
            events=[
                query_pb2.SchemaEvent(name=name, display_name=shown, count=count, hidden=hidden)
                for name, shown, count, hidden in events
                if request.include_hidden or not hidden
            ],
            properties=[
                query_pb2.SchemaProperty(name="ext", display_name="ext", types=["number", "string"], top_values=values),
                query_pb2.SchemaProperty(name="id", display_name="id", types=["json"]),
            ],
            meta=common_pb2.Meta(
                complete=not request.options.allow_partial, placement_epoch=1, shards=2, cache="miss", trace_id=TRACE_ID
            ),
        )

    def GetTimeline(self, request: Any, context: Any) -> Any:
        """Three events of any user, paged."""
        self.cluster.timelines.append(request)
        if self.cluster.query_script:
            refuse(context, self.cluster.query_script.pop(0))
        first = int(request.page_token or 0)
        end = min(3, first + (request.page_size or 100))
        rows = [
            {
                "event": "view",
                "properties": {
                    "distinct_id": request.user,
                    "time": 1_767_225_600_000 + at,
                    "$insert_id": f"i{at}",
                    "n": at,
                },
            }
            for at in range(first, end)
        ]
        return query_pb2.GetTimelineResponse(
            events=[json.dumps(row) for row in rows],
            next_page_token=str(end) if end < 3 else "",
            meta=common_pb2.Meta(
                complete=not request.options.allow_partial, placement_epoch=1, shards=1, cache="miss", trace_id=TRACE_ID
            ),
        )

    def QueryRetention(self, request: Any, context: Any) -> Any:
        """Two cohorts of eight; half of them return in each next bucket; the second's last is not over."""
        self.cluster.retentions.append(request)
        if self.cluster.query_script:
            refuse(context, self.cluster.query_script.pop(0))
        buckets = request.buckets or 8
        returned = [8 >> bucket for bucket in range(buckets)]
        cohorts = [
            query_pb2.RetentionCohort(
                start=start, size=8, returned=returned, incomplete=[False] * (buckets - 1) + [last_is_open]
            )
            for start, last_is_open in ((request.from_date, False), (request.to_date, True))
        ]
        average = [query_pb2.RetentionShare(share=back / 8) for back in returned[:-1]] + [query_pb2.RetentionShare()]
        meta = common_pb2.Meta(
            complete=not request.options.allow_partial, placement_epoch=1, shards=2, cache="miss", trace_id=TRACE_ID
        )
        by = [query_pb2.GroupValue(string_value="x") for _ in request.by]
        groups = [query_pb2.RetentionGroup(by=by, cohorts=cohorts, average=average)] if by else []
        return query_pb2.QueryRetentionResponse(cohorts=cohorts, average=average, groups=groups, meta=meta)

    def QueryFlows(self, request: Any, context: Any) -> Any:
        """Of eight users five go on to "a", two to the rest, one leaves."""
        self.cluster.flows.append(request)
        if self.cluster.query_script:
            refuse(context, self.cluster.query_script.pop(0))
        anchor = "|".join(request.anchor.events) or "*"
        meta = common_pb2.Meta(
            complete=not request.options.allow_partial, placement_epoch=1, shards=2, cache="miss", trace_id=TRACE_ID
        )
        nodes = [(0, anchor, 8, 1), (1, "a", 5, 0), (1, "$other", 2, 0)]
        answer = query_pb2.QueryFlowsResponse(anchors=8, meta=meta)
        for step, name, count, dropoff in nodes:
            answer.nodes.add(step=step, name=name, count=count, dropoff=dropoff)
            if step:
                setattr(answer.edges.add(step=step, to=name, count=count), "from", anchor)
        return answer

    def SaveCohort(self, request: Any, context: Any) -> Any:
        """Whoever is defined, there are twelve of them."""
        if self.cluster.query_script:
            refuse(context, self.cluster.query_script.pop(0))
        before = self.cluster.cohorts.get(request.name)
        cohort = query_pb2.Cohort(
            name=request.name, version=before.version + 1 if before else 1, definition=request.definition, users=12
        )
        self.cluster.cohorts[request.name] = cohort
        return query_pb2.SaveCohortResponse(cohort=cohort)

    def ListCohorts(self, request: Any, context: Any) -> Any:
        return query_pb2.ListCohortsResponse(cohorts=[cohort for _, cohort in sorted(self.cluster.cohorts.items())])

    def DeleteCohort(self, request: Any, context: Any) -> Any:
        if self.cluster.cohorts.pop(request.name, None) is None:
            refuse(context, EvenshardError("COHORT_NOT_FOUND", f"there is no cohort {request.name!r}"))
        return query_pb2.DeleteCohortResponse()

    def ExportEvents(self, request: Any, context: Any) -> Iterator[Any]:
        self.cluster.exports.append(request)
        rows = self.cluster.rows_of(request.tenant)
        first = int(request.cursor or 0)
        breaks_after = self.cluster.export_breaks_after.pop(0) if self.cluster.export_breaks_after else None
        for sent, number in enumerate(range(first, len(rows), 2)):
            if sent == self.cluster.export_error_after:
                refuse(context, EvenshardError("DATA_DAMAGED", "log 3"))
            if sent == breaks_after:
                context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
            some = rows[number : number + 2]
            payload = _arrow(some) if request.format == "arrow" else _lines(some)
            yield query_pb2.ExportEventsResponse(payload=payload, rows=len(some), cursor=str(number + len(some)))
        yield query_pb2.ExportEventsResponse(cursor=str(len(rows)), complete=True, trace_id=TRACE_ID)


def _group_value(value: Any) -> query_pb2.GroupValue:
    return group_value(JsonText(json.dumps(value)) if isinstance(value, list | dict) else value)


def _lines(rows: list[Row]) -> bytes:
    fields = ("distinct_id", "time")
    documents = [
        {"event": row["event"], "properties": {**{name: row[name] for name in fields}, "$insert_id": row["insert_id"]}}
        for row in rows
    ]
    return b"".join(json.dumps(document).encode() + b"\n" for document in documents)


def _arrow(rows: list[Row]) -> bytes:
    columns = ("event", "distinct_id", "time", "insert_id")
    table = pa.table({name: [row[name] for row in rows] for name in columns})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    result: bytes = sink.getvalue().to_pybytes()
    return result
