"""A cluster in one object behind a real gRPC port: it stores events in a dict, and errs as it is told.

For tests of clients: naive on purpose, and sharing no code with what it stands for.
"""

import json
import threading
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

import grpc
import pyarrow as pa

from evenshard.api.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    common_pb2,
    ingest_pb2,
    ingest_pb2_grpc,
    query_pb2,
    query_pb2_grpc,
)
from evenshard.errors import CODES, EvenshardError
from evenshard.wire.status import to_status, trailing_metadata

Row = dict[str, Any]
TRACE_ID = "0123456789abcdef" * 2


@dataclass(frozen=True, slots=True)
class Refuse:
    """The call fails with this error; nothing is stored."""

    error: EvenshardError


@dataclass(frozen=True, slots=True)
class LoseAnswer:
    """Everything is stored, then the connection breaks as if the router had died."""


@dataclass(frozen=True, slots=True)
class Silent:
    """No answer for so long; nothing is stored."""

    seconds: float


@dataclass(frozen=True, slots=True)
class ShardSilent:
    """Events of these distinct_ids are answered ``SHARD_UNAVAILABLE``, stored or not."""

    distinct_ids: frozenset[str]
    stored: bool


Act = Refuse | LoseAnswer | Silent | ShardSilent


@dataclass
class FakeCluster:
    """A router and a gateway on one address. ``script``: what happens to the next import calls, in order."""

    script: list[Act] = field(default_factory=list)
    query_script: list[EvenshardError] = field(default_factory=list)
    tenants: dict[str, admin_pb2.Tenant] = field(default_factory=dict)
    stored: dict[tuple[Any, ...], Row] = field(default_factory=dict)
    copies: int = 0
    created: list[str] = field(default_factory=list)
    """Tenants somebody asked to make, those that exist too."""
    create_script: list[EvenshardError] = field(default_factory=list)
    """What the next calls that make a tenant fail with."""
    imports: list[ingest_pb2.ImportEventsRequest] = field(default_factory=list)
    queries: list[query_pb2.QuerySegmentationRequest] = field(default_factory=list)
    funnels: list[query_pb2.QueryFunnelRequest] = field(default_factory=list)
    schemas: list[query_pb2.GetSchemaRequest] = field(default_factory=list)
    timelines: list[query_pb2.GetTimelineRequest] = field(default_factory=list)
    retentions: list[query_pb2.QueryRetentionRequest] = field(default_factory=list)
    flows: list[query_pb2.QueryFlowsRequest] = field(default_factory=list)
    cohorts: dict[str, query_pb2.Cohort] = field(default_factory=dict)
    exports: list[query_pb2.ExportEventsRequest] = field(default_factory=list)
    paused: set[str] = field(default_factory=set)
    """Tenants whose compaction is paused; ``""``: everybody's."""
    metadata: list[dict[str, str]] = field(default_factory=list)
    export_breaks_after: list[int] = field(default_factory=list)
    """Streams that break, each after so many messages."""
    export_error_after: int | None = None
    """Every stream fails for good after so many messages."""
    operations: dict[str, admin_pb2.Operation] = field(default_factory=dict)
    deletions: list[admin_pb2.DeleteUsersRequest] = field(default_factory=list)
    """Dry runs too."""
    repairs: list[admin_pb2.RepairHotKeyRequest] = field(default_factory=list)
    """Dry runs too."""
    moves: list[admin_pb2.MoveTenantRequest] = field(default_factory=list)
    """Dry runs too."""
    move_states: list[str] = field(default_factory=lambda: ["copying", "switched"])
    """In which one begins, and those that it has whenever it is looked at."""
    verified: admin_pb2.OperationVerify = field(default_factory=lambda: admin_pb2.OperationVerify(equal=True))
    deletion_errors: list[EvenshardError] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)
    """What becomes of the next waits for an operation: the state in which it ends, or empty: it goes on."""
    waits_asked_ms: list[int] = field(default_factory=list)
    address: str = ""
    _server: Any = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> "FakeCluster":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listens, on the address it had before where there is one."""
        self._server = grpc.server(
            futures.ThreadPoolExecutor(8),
            options=[("grpc.max_receive_message_length", 64 << 20), ("grpc.so_reuseport", 0)],
        )
        ingest_pb2_grpc.add_IngestServiceServicer_to_server(_Ingest(self), self._server)  # type: ignore[no-untyped-call]
        query_pb2_grpc.add_QueryServiceServicer_to_server(_Query(self), self._server)  # type: ignore[no-untyped-call]
        admin_pb2_grpc.add_AdminServiceServicer_to_server(_Admin(self), self._server)  # type: ignore[no-untyped-call]
        port = self._server.add_insecure_port(self.address or "127.0.0.1:0")
        self.address = self.address or f"127.0.0.1:{port}"
        self._server.start()

    def stop(self) -> None:
        self._server.stop(0).wait(5)

    def add_tenant(self, name: str, settings: admin_pb2.TenantSettings | None = None) -> admin_pb2.Tenant:
        tenant = admin_pb2.Tenant(
            name=name,
            settings=settings or admin_pb2.TenantSettings(),
            placement=common_pb2.Placement(
                epoch=1,
                slots=[
                    common_pb2.SlotRange(first=0, last=2047, shard="shard-0"),
                    common_pb2.SlotRange(first=2048, last=4095, shard="shard-1"),
                ],
            ),
        )
        if not tenant.settings.timezone:
            tenant.settings.timezone = "UTC"
        if not tenant.settings.HasField("dedupe"):
            tenant.settings.dedupe = True
        tenant.settings.strict = tenant.settings.strict
        tenant.settings.hot_key_threshold = tenant.settings.hot_key_threshold or 100_000
        tenant.settings.hot_key_mode = tenant.settings.hot_key_mode or "rewrite"
        self.tenants[name] = tenant
        return tenant

    def rows_of(self, tenant: str) -> list[Row]:
        """What is stored, by time."""
        return sorted((row for key, row in self.stored.items() if key[0] == tenant), key=lambda row: row["time"])

    def handle_import(self, request: ingest_pb2.ImportEventsRequest, context: Any) -> ingest_pb2.ImportEventsResponse:
        with self._lock:
            self.imports.append(request)
            self.metadata.append({key: str(value) for key, value in context.invocation_metadata()})
            act = self.script.pop(0) if self.script else None
            match act:
                case Refuse(error=error):
                    refuse(context, error)
                case Silent(seconds=seconds):
                    threading.Event().wait(seconds)
                    context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
            answer = self._store(request, act if isinstance(act, ShardSilent) else None, context)
            if isinstance(act, LoseAnswer):
                context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
            return answer

    def _store(
        self, request: ingest_pb2.ImportEventsRequest, silent: ShardSilent | None, context: Any
    ) -> ingest_pb2.ImportEventsResponse:
        if request.tenant and request.tenant not in self.tenants:
            refuse(context, EvenshardError("TENANT_NOT_FOUND", f"no tenant {request.tenant!r}"))
        answer = ingest_pb2.ImportEventsResponse(trace_id=TRACE_ID)
        counts: dict[str, ingest_pb2.TenantCounts] = {}
        for index, row in rows_of_request(request):
            tenant = "" if row is None else request.tenant or row.get("tenant") or ""
            code = self._fault(row, tenant, request.strict)
            count = counts.setdefault(tenant, ingest_pb2.TenantCounts(tenant=tenant))
            is_silent = row is not None and silent is not None and row["distinct_id"] in silent.distinct_ids
            if code is None and (not is_silent or (silent is not None and silent.stored)):
                assert row is not None
                new = self._keep(tenant, row)
                if not is_silent:
                    count.accepted += 1
                    count.duplicates += not new
            if code is None and is_silent:
                code = "SHARD_UNAVAILABLE"
            if code is not None:
                count.rejected += 1
                answer.errors.add(
                    index=index,
                    tenant=tenant,
                    insert_id=(row or {}).get("insert_id") or "",
                    code=code,
                    message=code.lower(),
                    retryable=code == "SHARD_UNAVAILABLE",
                )
        answer.by_tenant.extend(counts[name] for name in sorted(counts))
        answer.accepted = sum(count.accepted for count in answer.by_tenant)
        answer.duplicates = sum(count.duplicates for count in answer.by_tenant)
        answer.rejected = len(answer.errors)
        if answer.accepted:
            answer.warnings.add(code="FAKE", message="this is no real cluster", count=answer.accepted)
        return answer

    def _fault(self, row: Row | None, tenant: str, strict: bool) -> str | None:
        if row is None:
            return "INVALID_JSON"
        if not tenant:
            return "TENANT_MISSING"
        if tenant not in self.tenants:
            return "TENANT_NOT_FOUND"
        if not row.get("event"):
            return "EVENT_MISSING"
        if strict and not row.get("insert_id"):
            return "INSERT_ID_MISSING"
        return None

    def _keep(self, tenant: str, row: Row) -> bool:
        insert_id = row["insert_id"] or object()
        identity = (tenant, row["event"], row["distinct_id"], row["time"], insert_id)
        new = identity not in self.stored
        self.stored.setdefault(identity, row)
        self.copies += not new
        return new


def rows_of_request(request: ingest_pb2.ImportEventsRequest) -> Iterator[tuple[int, Row | None]]:
    """Each event with its place; None: it is no JSON object. Compressed payloads are opened."""
    encoding = request.WhichOneof("payload")
    payload = bytes(getattr(request, encoding or "ndjson"))
    if request.compression:
        codec = {ingest_pb2.GZIP: "gzip", ingest_pb2.ZSTD: "zstd"}[request.compression]
        payload = pa.CompressedInputStream(pa.BufferReader(payload), codec).read()
    if encoding == "arrow_ipc":
        for index, row in enumerate(pa.ipc.open_stream(payload).read_all().to_pylist()):
            yield index, {"insert_id": None, **row}
        return
    for index, line in enumerate(payload.split(b"\n")):
        if not line.strip():
            continue
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            yield index, None
            continue
        properties = event.get("properties") or {}
        row = {**properties, **event}
        row["insert_id"] = properties.get("$insert_id") or event.get("$insert_id") or event.get("insert_id")
        yield index, {"distinct_id": "", "time": 0, **row}


def refuse(context: Any, error: EvenshardError) -> None:
    """Ends the call as a real service would."""
    error.trace_id = TRACE_ID
    status = to_status(error)
    context.set_trailing_metadata(trailing_metadata(error))
    context.abort(getattr(grpc.StatusCode, CODES[error.code].grpc_status), status.message)


class _Ingest(ingest_pb2_grpc.IngestServiceServicer):
    def __init__(self, cluster: FakeCluster) -> None:
        self.cluster = cluster

    def ImportEvents(self, request: Any, context: Any) -> Any:
        return self.cluster.handle_import(request, context)


class _Query(query_pb2_grpc.QueryServiceServicer):
    def __init__(self, cluster: FakeCluster) -> None:
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
    match value:
        case None:
            return query_pb2.GroupValue()
        case bool():
            return query_pb2.GroupValue(bool_value=value)
        case int():
            return query_pb2.GroupValue(int64_value=value)
        case float():
            return query_pb2.GroupValue(double_value=value)
        case str():
            return query_pb2.GroupValue(string_value=value)
    return query_pb2.GroupValue(json_value=json.dumps(value))


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


class _Admin(admin_pb2_grpc.AdminServiceServicer):
    def __init__(self, cluster: FakeCluster) -> None:
        self.cluster = cluster

    def CreateTenant(self, request: Any, context: Any) -> Any:
        if self.cluster.create_script:
            refuse(context, self.cluster.create_script.pop(0))
        self.cluster.created.append(request.tenant)
        if request.tenant in self.cluster.tenants:
            refuse(context, EvenshardError("TENANT_EXISTS", f"{request.tenant!r} exists"))
        return admin_pb2.CreateTenantResponse(tenant=self.cluster.add_tenant(request.tenant, request.settings))

    def UpdateTenant(self, request: Any, context: Any) -> Any:
        tenant = self._found(request.tenant, context)
        if request.settings.HasField("owners"):  # they are replaced, not added to
            tenant.settings.ClearField("owners")
        tenant.settings.MergeFrom(request.settings)
        return admin_pb2.UpdateTenantResponse(tenant=tenant)

    def GetTenant(self, request: Any, context: Any) -> Any:
        return admin_pb2.GetTenantResponse(tenant=self._found(request.tenant, context))

    def ListTenants(self, request: Any, context: Any) -> Any:
        tenants = self.cluster.tenants
        return admin_pb2.ListTenantsResponse(tenants=[tenants[name] for name in sorted(tenants)])

    def CompactTenant(self, request: Any, context: Any) -> Any:
        self._found(request.tenant, context)
        rows = len(self.cluster.rows_of(request.tenant))
        return admin_pb2.CompactTenantResponse(segments_written=1, rows=rows, duplicates_marked=2, backlog_rows=0)

    def SetCompaction(self, request: Any, context: Any) -> Any:
        if request.tenant:
            self._found(request.tenant, context)
        change = self.cluster.paused.add if request.paused else self.cluster.paused.discard
        change(request.tenant)
        return admin_pb2.SetCompactionResponse(shards=[self._compaction()])

    def _compaction(self) -> common_pb2.CompactionState:
        paused = sorted(self.cluster.paused - {""})
        return common_pb2.CompactionState(
            shard="shard-0", paused="" in self.cluster.paused, paused_tenants=paused, backlog_rows=7, log_files=1
        )

    def GetStorage(self, request: Any, context: Any) -> Any:
        names = [request.tenant] if request.tenant else sorted(self.cluster.tenants)
        return admin_pb2.GetStorageResponse(
            tenants=[
                admin_pb2.TenantStorage(tenant=name, log_rows=len(self.cluster.rows_of(name)), files=3, bytes=4096)
                for name in names
            ],
            compaction=[self._compaction()],
        )

    def DeleteUsers(self, request: Any, context: Any) -> Any:
        self._found(request.tenant, context)
        self.cluster.deletions.append(request)
        if not request.distinct_ids[0]:
            refuse(context, EvenshardError("QUERY_INVALID", "the empty distinct_id is nobody's"))
        if self.cluster.deletion_errors and not request.options.dry_run:
            refuse(context, self.cluster.deletion_errors.pop(0))
        operation = admin_pb2.Operation(
            operation=f"op-{len(self.cluster.operations)}",
            kind="delete-users",
            tenant=request.tenant,
            state="running",
            rows_total=7,
            requested_by="development",
        )
        if not request.options.dry_run:
            self.cluster.operations[operation.operation] = operation
        return admin_pb2.DeleteUsersResponse(operation=operation)

    def GetOperation(self, request: Any, context: Any) -> Any:
        operation = self._operation(request.operation, context)
        if operation.kind == "move" and len(self.cluster.move_states) > 1:
            operation.state = self.cluster.move_states.pop(1)
        return admin_pb2.GetOperationResponse(operation=operation)

    def ListOperations(self, request: Any, context: Any) -> Any:
        found = [each for each in self.cluster.operations.values() if request.tenant in ("", each.tenant)]
        return admin_pb2.ListOperationsResponse(operations=found[::-1])

    def WaitOperation(self, request: Any, context: Any) -> Any:
        """As ``waits`` says: "" it goes on (after the time given), else the state in which it ends."""
        operation = self._operation(request.operation, context)
        self.cluster.waits_asked_ms.append(request.timeout_ms)
        state = self.cluster.waits.pop(0) if self.cluster.waits else "complete"
        if state:
            operation.state, operation.rows_done = state, operation.rows_total
        else:
            threading.Event().wait(request.timeout_ms / 1000)
        return admin_pb2.WaitOperationResponse(operation=operation)

    def CancelOperation(self, request: Any, context: Any) -> Any:
        operation = self._operation(request.operation, context)
        if operation.state != "planned":
            refuse(context, EvenshardError("OPERATION_STATE", f"it is {operation.state}"))
        if not request.options.dry_run:
            operation.state = "cancelled"
        return admin_pb2.CancelOperationResponse(operation=operation)

    def MoveTenant(self, request: Any, context: Any) -> Any:
        """To ``shard-9`` nobody can go."""
        self._found(request.tenant, context)
        self.cluster.moves.append(request)
        if request.to == "shard-9":
            refuse(context, EvenshardError("SHARD_NOT_FOUND", "there is no shard 'shard-9'"))
        moved = admin_pb2.PlannedMove(
            tenant=request.tenant,
            first=0,
            last=2047,
            source="shard-0",
            target=request.to,
            rows=7,
            bytes=900,
            reason="x",
        )
        plan = admin_pb2.MovePlan(
            plan_id="p",
            directory_revision=5,
            moves=[moved],
            skew_before=2.0,
            skew_after=1.0,
            expected_hold_ms=100,
            expected_seconds=0.5,
            loads=[
                admin_pb2.PlannedLoad(shard="shard-0", rows_before=7),
                admin_pb2.PlannedLoad(shard="s", rows_after=7),
            ],
        )
        if request.options.dry_run:
            return admin_pb2.MoveTenantResponse(plan=plan)
        operation = admin_pb2.Operation(
            operation=f"op-{len(self.cluster.operations)}",
            kind="move",
            tenant=request.tenant,
            state=self.cluster.move_states[0],
            rows_done=3,
            rows_total=7,
            bytes_total=900,
            requested_by="development",
        )
        self.cluster.operations[operation.operation] = operation
        return admin_pb2.MoveTenantResponse(operation=operation, plan=plan)

    def RollbackOperation(self, request: Any, context: Any) -> Any:
        return admin_pb2.RollbackOperationResponse(operation=self._ended(request, "rolled_back", context))

    def CompleteOperation(self, request: Any, context: Any) -> Any:
        return admin_pb2.CompleteOperationResponse(operation=self._ended(request, "complete", context))

    def _ended(self, request: Any, state: str, context: Any) -> Any:
        operation = self._operation(request.operation, context)
        if operation.state != "switched":
            refuse(context, EvenshardError("OPERATION_STATE", f"it is {operation.state}"))
        if not request.options.dry_run:
            operation.state = state
        return operation

    def CordonShard(self, request: Any, context: Any) -> Any:
        shard = admin_pb2.ShardState(shard=request.shard, address="127.0.0.1:1", state="cordoned")
        return admin_pb2.CordonShardResponse(shard=shard)

    def DeleteTenant(self, request: Any, context: Any) -> Any:
        tenant = self._found(request.tenant, context)
        if not request.options.dry_run:
            del self.cluster.tenants[request.tenant]
        return admin_pb2.DeleteTenantResponse(tenant=tenant, kept_until_ms=1_767_225_600_000)

    def RepairHotKey(self, request: Any, context: Any) -> Any:
        """The key ``hot`` is one; of ``many`` there is another repair."""
        self._found(request.tenant, context)
        self.cluster.repairs.append(request)
        if request.distinct_id == "many":
            refuse(context, EvenshardError("OPERATION_CONFLICT", "operation op-0 is repairing it"))
        if request.distinct_id != "hot":
            refuse(context, EvenshardError("HOT_KEY_NOT_FOUND", f"{request.distinct_id!r} is not hot"))
        before = '{"event":"$hotshard_events","properties":{"distinct_id":"","mp_original_event_name":"e"}}'
        after = '{"event":"e","properties":{"distinct_id":"u"}}' if request.action != "delete" else ""
        plan = admin_pb2.RepairPlan(
            kept_rows=5,
            rewritten_rows=7,
            bytes=1200,
            days=[request.from_date],
            examples=[admin_pb2.RepairExample(before=before, after=after)],
            left_rows=1,
            left=['{"event":"e","properties":{"distinct_id":"hot"}}'],
        )
        operation = self._begun("repair", request)
        return admin_pb2.RepairHotKeyResponse(operation=operation, plan=plan)

    def UndoRepair(self, request: Any, context: Any) -> Any:
        self._operation(request.operation, context)
        return admin_pb2.UndoRepairResponse(operation=self._begun("repair-undo", request))

    def ExportHotKey(self, request: Any, context: Any) -> Iterator[Any]:
        self._found(request.tenant, context)
        for number in range(2):
            line = json.dumps({"event": "e", "properties": {"distinct_id": request.distinct_id_from, "n": number}})
            yield admin_pb2.ExportHotKeyResponse(lines=line.encode() + b"\n", rows=1)

    def PauseOperation(self, request: Any, context: Any) -> Any:
        return admin_pb2.PauseOperationResponse(operation=self._held(request, context, paused=True))

    def ResumeOperation(self, request: Any, context: Any) -> Any:
        return admin_pb2.ResumeOperationResponse(operation=self._held(request, context, paused=False))

    def VerifyOperation(self, request: Any, context: Any) -> Any:
        operation = admin_pb2.Operation()
        operation.CopyFrom(self._operation(request.operation, context))
        operation.verify.CopyFrom(self.cluster.verified)
        return admin_pb2.VerifyOperationResponse(operation=operation)

    def _begun(self, kind: str, request: Any) -> Any:
        operation = admin_pb2.Operation(
            operation=f"op-{len(self.cluster.operations)}", kind=kind, tenant="acme", state="planned", rows_total=7
        )
        if not request.options.dry_run:
            self.cluster.operations[operation.operation] = operation
        return operation

    def _held(self, request: Any, context: Any, *, paused: bool) -> Any:
        operation = self._operation(request.operation, context)
        if not request.options.dry_run:
            operation.paused = paused
        return operation

    def _operation(self, name: str, context: Any) -> Any:
        if name not in self.cluster.operations:
            refuse(context, EvenshardError("OPERATION_NOT_FOUND", f"no operation {name!r}"))
        return self.cluster.operations[name]

    def _found(self, name: str, context: Any) -> Any:
        if name not in self.cluster.tenants:
            refuse(context, EvenshardError("TENANT_NOT_FOUND", f"no tenant {name!r}"))
        return self.cluster.tenants[name]
