"""Rows put on shards of a ``MemoryCluster`` by hand, whatever a router would do (see ``spread``)."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from evenshard.api.v1 import shard_pb2
from evenshard.directory.keys import mark_key
from evenshard.directory.tenant import Tenant
from evenshard.events.batch import EventBatch, property_of, schema_of
from evenshard.hotkeys.marks import Mark
from evenshard.ids import ShardId
from evenshard.ports.directory import Put
from evenshard.router.handing_over import overflow_of
from evenshard.testing.cluster import MemoryCluster
from evenshard.testing.reference import Row
from evenshard.testing.scanned import event_record
from evenshard.wire import rpcs

DAY_MS = 86_400_000


async def append_by_hand(cluster: MemoryCluster, tenant: Tenant, held: Mapping[ShardId, Sequence[Row]]) -> None:
    """Each row to its shard. Those that are not at home, where there is an overflow, are of hot keys."""
    for shard, rows in held.items() if tenant.placement.overflow else ():
        for user, day in {(row["distinct_id"], row["time"] // DAY_MS) for row in rows if row["distinct_id"]}:
            if tenant.placement.home_of(user) != shard:
                await _take_hot(cluster, tenant, shard, user, day)
    for shard, rows in held.items():
        if not rows:
            continue
        record = event_record([{**row, "duplicate": False} for row in rows])
        schema = schema_of([name for name in record.schema.names if property_of(name)])
        batch = EventBatch(pa.RecordBatch.from_arrays([record.column(name) for name in schema.names], schema=schema))
        message = shard_pb2.TenantBatch(tenant=tenant.name, epoch=tenant.placement.epoch, arrow_ipc=batch.to_ipc())
        request = shard_pb2.AppendEventsRequest(batches=[message])
        (result,) = (await cluster.call(shard, rpcs.APPEND_EVENTS, request)).results
        assert result.code == "", result.message


async def _take_hot(cluster: MemoryCluster, tenant: Tenant, shard: ShardId, user: str, day: int) -> None:
    """The key is hot, and its home has nothing of it that the shard would have to know."""
    mark = Mark("salt", 1, 2, "by hand", "active", "salt", 0, overflow_of(tenant.placement))
    await cluster.directory.swap([], [Put(mark_key(tenant.name, user, day), mark.to_json())])
    request = shard_pb2.KeepOriginalsRequest(
        tenant=tenant.name, epoch=tenant.placement.epoch, key={"distinct_id": user, "day": day}, nonce="by hand"
    )
    await cluster.call(shard, rpcs.KEEP_ORIGINALS, request)
