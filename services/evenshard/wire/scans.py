"""Scans, compaction and storage figures of a shard: ours → protobuf."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import pyarrow as pa

from evenshard.api.v1 import common_pb2, shard_pb2
from evenshard.errors import EvenshardError
from evenshard.ids import Epoch
from evenshard.queries.plan import ScanStats
from evenshard.queries.reunion import ShardAnswer
from evenshard.storage.indexing import Compacted
from evenshard.storage.tenant import TenantStorage

_EPOCH_DAY = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class RowsWanted:
    """A stretch of a tenant's rows."""

    tenant: str
    epoch: Epoch
    start_ms: int
    end_ms: int
    """Half-open."""
    events: tuple[str, ...]
    """Any of them; none: any event."""
    include_duplicates: bool
    restore_hot: bool
    """Hot events as they came."""


def rows_wanted(request: shard_pb2.ScanRowsRequest) -> RowsWanted:
    return RowsWanted(
        request.tenant,
        Epoch(request.epoch),
        request.start_ms,
        request.end_ms,
        tuple(request.events),
        request.include_duplicates,
        request.restore_hot,
    )


def stats_message(stats: ScanStats, data_version: str) -> shard_pb2.ScanStats:
    return shard_pb2.ScanStats(
        duplicates_skipped_log=stats.duplicates_skipped_log,
        duplicates_skipped_segment=stats.duplicates_skipped_segment,
        rows_scanned=stats.rows_scanned,
        bytes_scanned=stats.bytes_scanned,
        data_version=data_version,
        hot_events_rewritten=stats.hot_events_rewritten,
        rows_given_up=stats.rows_given_up,
    )


def scan_response(found: ShardAnswer, data_version: str, tag: str) -> shard_pb2.ScanResponse:
    return shard_pb2.ScanResponse(
        partial=found.partial,
        stats=stats_message(found.stats, data_version),
        tag=tag,
        split_rows=found.split_rows,
        split_users=found.split_users,
        split_bytes=found.split_bytes,
    )


def rows_message(record: pa.RecordBatch) -> shard_pb2.ScanRowsResponse:
    """Some rows of an answer to ``ScanRows``."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, record.schema) as writer:
        writer.write_batch(record)
    return shard_pb2.ScanRowsResponse(arrow_ipc=sink.getvalue().to_pybytes())


def day_of(text: str) -> int | None:
    """Days since the epoch of ``YYYY-MM-DD``; None for an empty text. Raises ``RANGE_INVALID``."""
    if not text:
        return None
    try:
        return (date.fromisoformat(text) - _EPOCH_DAY).days
    except ValueError as error:
        raise EvenshardError("RANGE_INVALID", f"{text!r} is not a date (YYYY-MM-DD)") from error


def compact_response(done: Compacted) -> shard_pb2.CompactResponse:
    return shard_pb2.CompactResponse(
        segments_written=done.segments_written,
        rows=done.rows,
        duplicates_marked=done.duplicates_marked,
        backlog_rows=done.backlog_rows,
    )


def storage_response(
    tenants: Iterable[TenantStorage], compaction: common_pb2.CompactionState, memory: common_pb2.ShardMemory
) -> shard_pb2.GetShardStorageResponse:
    return shard_pb2.GetShardStorageResponse(
        compaction=compaction,
        memory=memory,
        tenants=[
            shard_pb2.ShardTenantStorage(
                tenant=each.tenant,
                log_rows=each.log_rows,
                segment_rows=each.segment_rows,
                duplicate_rows=each.duplicate_rows,
                segments=each.segments,
                files=each.files,
                bytes=each.bytes,
            )
            for each in tenants
        ],
    )
