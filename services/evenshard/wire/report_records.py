"""Records of weekly reports: protobuf ↔ ours, and as documents."""

from typing import Any, cast

from evenshard.api.v1 import admin_pb2
from evenshard.directory.report_record import ReportRecord, State
from evenshard.ids import TenantId


def report_record_message(record: ReportRecord) -> admin_pb2.ReportRecord:
    return admin_pb2.ReportRecord(
        tenant=record.tenant,
        week=record.week,
        state=record.state,
        sink=record.sink,
        hot_keys=record.hot_keys,
        attempts=record.attempts,
        error=record.error,
        changed_ms=record.changed_ms,
        claimant=record.claimant,
    )


def report_record_of(message: admin_pb2.ReportRecord) -> ReportRecord:
    """Its state may be none of ours: whoever takes it from outside checks."""
    return ReportRecord(
        TenantId(message.tenant),
        message.week,
        cast(State, message.state),
        message.claimant,
        message.changed_ms,
        message.sink,
        message.hot_keys,
        message.attempts,
        message.error,
    )


def report_record_document(record: ReportRecord) -> dict[str, Any]:
    """For people and programs; without whose claim it is."""
    return {
        "tenant": record.tenant,
        "week": record.week,
        "outcome": record.state,
        "sink": record.sink or None,
        "hot_key_count": record.hot_keys,
        "attempts": record.attempts,
        "error": record.error or None,
        "changed_ms": record.changed_ms,
    }
