"""A shard's load as it travels."""

from collections.abc import Iterable

from evenshard.api.v1 import common_pb2
from evenshard.ids import ShardId
from evenshard.shard.heat import Heat
from evenshard.storage.tenant import TenantStorage


def load_message(
    shard: ShardId, heat: Heat, stored: Iterable[TenantStorage], pending_bytes: int, disk_free_bytes: int | None
) -> common_pb2.ShardLoad:
    """``stored``: of all tenants."""
    tenants = [each for each in stored if each.log_rows or each.segment_rows]
    return common_pb2.ShardLoad(
        shard=shard,
        window_ms=heat.window_ms,
        events_per_second=heat.events_per_second,
        queries_per_second=heat.queries_per_second,
        query_p99_ms=heat.query_p99_ms,
        busy=heat.busy,
        pending_bytes=pending_bytes,
        backlog_rows=sum(each.log_rows for each in tenants),
        queries_running=heat.queries_running,
        cpu=heat.cpu,
        read_bytes_per_second=heat.read_bytes_per_second,
        write_bytes_per_second=heat.write_bytes_per_second,
        rows=sum(each.log_rows + each.segment_rows for each in tenants),
        bytes=sum(each.bytes for each in tenants),
        tenants=len(tenants),
        disk_free_bytes=disk_free_bytes,
        keys=[
            common_pb2.KeyLoad(
                tenant=each.tenant,
                distinct_id=each.distinct_id,
                events_per_second=each.events_per_second,
                busy=each.busy,
            )
            for each in heat.keys
        ],
    )
