"""Queries: protobuf ↔ ours, on the gateway's both sides."""

from collections.abc import Sequence
from dataclasses import dataclass

from evenshard.api.v1 import common_pb2, query_pb2, shard_pb2
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.queries.answer import SegmentationAnswer
from evenshard.queries.export import ExportQuery, export_query
from evenshard.queries.model import SegmentationQuery, segmentation_query
from evenshard.queries.plan import ScanStats
from evenshard.queries.values import JsonText, Value


@dataclass(frozen=True, slots=True)
class Account:
    """The account of an answer."""

    epoch: Epoch
    answered: Sequence[ShardId]
    missing: Sequence[ShardId]
    data_version: str
    stats: ScanStats
    elapsed_ms: float
    trace_id: str
    from_cache: bool = False
    warnings: Sequence[tuple[str, str]] = ()
    """Code and message."""


def segmentation_query_of(request: query_pb2.QuerySegmentationRequest) -> SegmentationQuery:
    """Raises ``QUERY_INVALID`` or ``RANGE_INVALID``, naming the field."""
    return segmentation_query(
        from_date=request.from_date,
        to_date=request.to_date,
        events=request.events,
        unit=request.unit,
        measure=request.measure,
        property=request.property,
        where=request.where,
        by=request.by,
        limit=request.limit,
        include_duplicates=request.options.include_duplicates,
    )


def segmentation_request(tenant: str, query: SegmentationQuery) -> query_pb2.QuerySegmentationRequest:
    """The inverse of ``segmentation_query_of``, with nothing left to defaults."""
    return query_pb2.QuerySegmentationRequest(
        tenant=tenant,
        from_date=query.from_date.isoformat(),
        to_date=query.to_date.isoformat(),
        events=query.events,
        unit=query.unit,
        measure=query.measure,
        property=query.measured_property,
        where=query.where,
        by=query.by,
        limit=query.limit,
        options=query_pb2.QueryOptions(include_duplicates=query.include_duplicates),
    )


def export_query_of(request: query_pb2.ExportEventsRequest) -> ExportQuery:
    """Raises ``QUERY_INVALID`` or ``RANGE_INVALID``, naming the field."""
    return export_query(
        tenant=request.tenant,
        start_ms=request.start_ms,
        end_ms=request.end_ms,
        events=request.events,
        output=request.format,
        include_duplicates=request.include_duplicates,
        restore_hot=request.restore_hot,
    )


def segmentation_body(answer: SegmentationAnswer) -> bytes:
    """A ``QuerySegmentationResponse`` without its account, and what depends on now."""
    return query_pb2.QuerySegmentationResponse(
        buckets=answer.buckets,
        series=[
            query_pb2.SegmentationSeries(
                by=[group_value(value) for value in series.by],
                values=[measure_value(value) for value in series.values],
                overall=measure_value(series.overall),
            )
            for series in answer.series
        ],
    ).SerializeToString()


def meta(account: Account) -> common_pb2.Meta:
    return common_pb2.Meta(
        complete=not account.missing,
        missing_shards=account.missing,
        placement_epoch=account.epoch,
        data_version=account.data_version,
        duplicates_skipped=common_pb2.DuplicatesSkipped(
            log=account.stats.duplicates_skipped_log, segment=account.stats.duplicates_skipped_segment
        ),
        hot_events_rewritten=account.stats.hot_events_rewritten,
        rows_scanned=account.stats.rows_scanned,
        bytes_scanned=account.stats.bytes_scanned,
        shards=len(account.answered),
        cache="hit" if account.from_cache else "miss",
        elapsed_ms=account.elapsed_ms,
        trace_id=account.trace_id,
        warnings=[
            *(common_pb2.Warning(code=code, message=message) for code, message in account.warnings),
            *loss_warnings(account.stats.rows_given_up),
        ],
    )


def measure_value(value: int | float | None) -> query_pb2.MeasureValue:
    """None: undefined."""
    match value:
        case None:
            return query_pb2.MeasureValue()
        case int():
            return query_pb2.MeasureValue(int64_value=value)
        case float():
            return query_pb2.MeasureValue(double_value=value)


def loss_warnings(rows_given_up: int) -> list[common_pb2.Warning]:
    """Says that events are missing for good; for as long as the shard has them on record."""
    if not rows_given_up:
        return []
    message = f"{rows_given_up:,} events at most of this time were lost on a disk, and their loss was accepted"
    return [common_pb2.Warning(code="EVENTS_LOST", message=message, count=rows_given_up)]


def group_value(value: Value | JsonText) -> query_pb2.GroupValue:
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
        case JsonText(text=text):
            return query_pb2.GroupValue(json_value=text)


def scan_request(
    tenant: TenantId, epoch: Epoch, scan: bytes, known_tag: str, told: Sequence[str], split_bytes_max: int
) -> shard_pb2.ScanRequest:
    """``told``: split users who are at home there; ``split_bytes_max``: memory of rows that may be given back."""
    return shard_pb2.ScanRequest(
        tenant=tenant,
        epoch=epoch,
        scan=scan,
        known_tag=known_tag,
        split_users=told,
        split_bytes_max=split_bytes_max,
    )


def scan_rows_request(
    query: ExportQuery, tenant: TenantId, epoch: Epoch, *, from_ms: int, include_duplicates: bool
) -> shard_pb2.ScanRowsRequest:
    return shard_pb2.ScanRowsRequest(
        tenant=tenant,
        epoch=epoch,
        start_ms=from_ms,
        end_ms=query.end_ms,
        events=query.events,
        include_duplicates=include_duplicates,
        restore_hot=query.restore_hot,
    )


def scan_stats_of(stats: shard_pb2.ScanStats) -> ScanStats:
    return ScanStats(
        stats.duplicates_skipped_log,
        stats.duplicates_skipped_segment,
        stats.rows_scanned,
        stats.bytes_scanned,
        stats.hot_events_rewritten,
        stats.rows_given_up,
    )
