"""What a fake cluster has: events in a dict, tenants, what it was asked, and how it errs next."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import pyarrow as pa

from evenshard.api.v1 import admin_pb2, common_pb2, ingest_pb2, query_pb2
from evenshard.errors import EvenshardError
from evenshard.testing.fake_calls import TRACE_ID, Row, refuse


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
class FakeState:
    """What its services know and do. ``script``: what happens to the next import calls, in order."""

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
    _lock: threading.Lock = field(default_factory=threading.Lock)

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
