"""Imports: protobuf ↔ ours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from evenshard.api.v1 import common_pb2, ingest_pb2
from evenshard.errors import EvenshardError
from evenshard.events.rejects import DecodeWarning, Reject

Encoding = Literal["arrow", "ndjson", "rows"]
Compressor = Literal["none", "gzip", "zstd"]

MESSAGES_MAX = 10_000
"""Rejected events of an answer that come with a message; those behind them only have their code, so that the answer
to a payload of a million bad lines still fits into a message."""

_COMPRESSORS: dict[int, Compressor] = {ingest_pb2.NONE: "none", ingest_pb2.GZIP: "gzip", ingest_pb2.ZSTD: "zstd"}


@dataclass(frozen=True, slots=True)
class Import:
    """What a caller asks to import."""

    tenant: str
    """Empty: each line names its own."""
    encoding: Encoding
    compressor: Compressor
    payload: bytes
    """As sent (rows: the serialized ``EventRows``); empty: nothing to import."""
    strict: bool
    """The caller wants strict rules, whatever the tenant's are."""


@dataclass(slots=True)
class TenantCounts:
    """An import's counts for one tenant."""

    accepted: int = 0
    duplicates: int = 0
    """Of those accepted."""
    rejected: int = 0
    hot_events_rewritten: int = 0
    """Of those accepted and no duplicates."""


@dataclass(frozen=True, slots=True)
class ImportResult:
    """The answer to an import."""

    rejects: Sequence[Reject]
    """By index."""
    by_tenant: Mapping[str, TenantCounts]
    warnings: Sequence[DecodeWarning]
    retry_after_ms: int = 0
    """When to send again what shards had no room for; 0: nothing is known."""


def import_of(request: ingest_pb2.ImportEventsRequest) -> Import:
    """Raises ``PAYLOAD_INVALID`` for a kind of payload or a compression unknown here, and for compressed rows."""
    compressor = _COMPRESSORS.get(request.compression)
    if compressor is None:
        raise EvenshardError("PAYLOAD_INVALID", f"compression {request.compression} is not known here")
    kind = request.WhichOneof("payload")
    match kind:
        case "arrow_ipc":
            return Import(request.tenant, "arrow", compressor, request.arrow_ipc, request.strict)
        case "ndjson" | None:
            return Import(request.tenant, "ndjson", compressor, request.ndjson, request.strict)
        case "rows":
            if compressor != "none":
                raise EvenshardError("PAYLOAD_INVALID", "rows are not compressed: leave compression NONE")
            return Import(request.tenant, "rows", compressor, request.rows.SerializeToString(), request.strict)
    raise EvenshardError("PAYLOAD_INVALID", f"payloads of kind {kind!r} are not known here")


def import_response(result: ImportResult, trace_id: str) -> ingest_pb2.ImportEventsResponse:
    """The answer as it travels; only ``SHARD_UNAVAILABLE`` is retryable."""
    counts = result.by_tenant.values()
    return ingest_pb2.ImportEventsResponse(
        accepted=sum(count.accepted for count in counts),
        duplicates=sum(count.duplicates for count in counts),
        hot_events_rewritten=sum(count.hot_events_rewritten for count in counts),
        rejected=len(result.rejects),
        errors=[
            ingest_pb2.RejectedEvent(
                index=reject.index,
                tenant=reject.tenant,
                insert_id=reject.insert_id,
                field=reject.field,
                code=reject.code,
                message=reject.message if number < MESSAGES_MAX else "",
                retryable=reject.code == "SHARD_UNAVAILABLE",
            )
            for number, reject in enumerate(result.rejects)
        ],
        by_tenant=[
            ingest_pb2.TenantCounts(
                tenant=tenant,
                accepted=count.accepted,
                duplicates=count.duplicates,
                hot_events_rewritten=count.hot_events_rewritten,
                rejected=count.rejected,
            )
            for tenant, count in sorted(result.by_tenant.items())
        ],
        warnings=[
            common_pb2.Warning(code=warning.code, message=warning.message, count=warning.count)
            for warning in result.warnings
        ],
        trace_id=trace_id,
        retry_after_ms=result.retry_after_ms,
    )
