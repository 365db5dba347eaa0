"""What operators ask, as the contract's documents. A limit that is not set is null."""

from collections.abc import Sequence
from typing import Any

from evenshard.api.v1 import admin_pb2, common_pb2


def tenant_document(tenant: admin_pb2.Tenant) -> dict[str, Any]:
    """A tenant with its settings and placement."""
    return {
        "tenant": tenant.name,
        "hot_key_threshold": tenant.settings.hot_key_threshold,
        "hot_key_mode": tenant.settings.hot_key_mode,
        "timezone": tenant.settings.timezone,
        "dedupe": tenant.settings.dedupe,
        "retention_days": tenant.settings.retention_days or None,
        "strict": tenant.settings.strict,
        "events_per_second": tenant.settings.events_per_second or None,
        "bytes_per_second": tenant.settings.bytes_per_second or None,
        "owners": list(tenant.settings.owners.addresses),
        "report_sink": tenant.settings.report_sink or None,
        "required_labels": list(tenant.settings.required_labels.labels),
        "placement": {
            "epoch": tenant.placement.epoch,
            "slots": [_slots(each) for each in tenant.placement.slots],
            "overflow": [_slots(each) for each in tenant.placement.overflow],
        },
    }


def _slots(piece: Any) -> dict[str, Any]:
    return {"first": piece.first, "last": piece.last, "shard": piece.shard}


def settings_message(
    timezone: str | None,
    dedupe: bool | None,
    strict: bool | None,
    hot_key_threshold: int | None,
    hot_key_mode: str | None,
    retention_days: int | None,
    events_per_second: int | None,
    bytes_per_second: int | None,
    owners: Sequence[str] | None,
    report_sink: str | None,
    required_labels: Sequence[str] | None,
) -> admin_pb2.TenantSettings:
    """What is None stays unset."""
    settings = admin_pb2.TenantSettings()
    if timezone is not None:
        settings.timezone = timezone
    if dedupe is not None:
        settings.dedupe = dedupe
    if strict is not None:
        settings.strict = strict
    if hot_key_threshold is not None:
        settings.hot_key_threshold = hot_key_threshold
    if hot_key_mode is not None:
        settings.hot_key_mode = hot_key_mode
    if retention_days is not None:
        settings.retention_days = retention_days
    if events_per_second is not None:
        settings.events_per_second = events_per_second
    if bytes_per_second is not None:
        settings.bytes_per_second = bytes_per_second
    if owners is not None:
        settings.owners.CopyFrom(admin_pb2.Owners(addresses=owners))
    if report_sink is not None:
        settings.report_sink = report_sink
    if required_labels is not None:
        settings.required_labels.CopyFrom(admin_pb2.RequiredLabels(labels=required_labels))
    return settings


def compaction_document(answer: admin_pb2.CompactTenantResponse) -> dict[str, Any]:
    return {
        "segments_written": answer.segments_written,
        "rows": answer.rows,
        "duplicates_marked": answer.duplicates_marked,
        "backlog_rows": answer.backlog_rows,
    }


def storage_document(answer: admin_pb2.GetStorageResponse) -> dict[str, Any]:
    return {
        "tenants": [
            {
                "tenant": each.tenant,
                "log_rows": each.log_rows,
                "segment_rows": each.segment_rows,
                "duplicate_rows": each.duplicate_rows,
                "segments": each.segments,
                "files": each.files,
                "bytes": each.bytes,
            }
            for each in answer.tenants
        ],
        "compaction": [_compaction_state(each) for each in answer.compaction],
        "memory": [_memory(each) for each in answer.memory],
    }


def paused_document(answer: admin_pb2.SetCompactionResponse) -> dict[str, Any]:
    """How compaction stands on each shard that was told."""
    return {"compaction": [_compaction_state(each) for each in answer.shards]}


def _memory(memory: common_pb2.ShardMemory) -> dict[str, Any]:
    return {
        "shard": memory.shard,
        "bytes_max": memory.bytes_max,
        "resident_bytes": memory.resident_bytes,
        "resident_bytes_peak": memory.resident_bytes_peak,
        "parts": [{"part": each.part, "bytes": each.bytes, "bytes_max": each.bytes_max} for each in memory.parts],
    }


def _compaction_state(state: common_pb2.CompactionState) -> dict[str, Any]:
    return {
        "shard": state.shard,
        "paused": state.paused,
        "paused_tenants": list(state.paused_tenants),
        "failing_tenants": list(state.failing_tenants),
        "backlog_rows": state.backlog_rows,
        "log_files": state.log_files,
        "log_kept_by": list(state.log_kept_by),
    }
