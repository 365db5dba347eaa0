"""Deletions and purges by the RPCs that a shard has for them, on one process's cluster."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson
import pytest
from evenshard.api.v1 import shard_pb2
from evenshard.directory.tenant import Tenant
from evenshard.errors import EvenshardError
from evenshard.testing.cluster import MemoryCluster
from evenshard.wire import rpcs

FROM, TO = "2026-01-01", "2026-01-02"
START_MS = 1_767_225_600_000
DAY_MS = 86_400_000
SEED = 20260102


@pytest.fixture
async def cluster() -> AsyncIterator[MemoryCluster]:
    async with MemoryCluster(seed=SEED) as made:
        yield made


def lines(users: Sequence[str], numbers: range) -> bytes:
    return b"\n".join(
        orjson.dumps(
            {
                "event": "view",
                "properties": {"distinct_id": user, "time": START_MS + number, "$insert_id": f"{user}-{number}"},
            }
        )
        for user in users
        for number in numbers
    )


async def on_each_shard(cluster: MemoryCluster, tenant: Tenant, rpc: Any, request: Any) -> list[Any]:
    request.tenant, request.epoch = tenant.name, tenant.placement.epoch
    return await asyncio.gather(*(cluster.call(shard, rpc, request) for shard in tenant.placement.shards))


async def counts(cluster: MemoryCluster) -> tuple[int, int]:
    """Events, and users."""
    total = await cluster.segmentation("acme", FROM, TO)
    users = await cluster.segmentation("acme", FROM, TO, measure="unique")
    return total.series[0].overall.int64_value, users.series[0].overall.int64_value


async def test_users_are_hidden_purged_and_new_when_they_come_again(cluster: MemoryCluster) -> None:
    acme = await cluster.create_tenant("acme")
    users = [f"user-{number}" for number in range(20)]
    await cluster.import_events("acme", ndjson=lines(users, range(10)))
    await cluster.compact(acme)
    await cluster.import_events("acme", ndjson=lines(users, range(10, 15)))
    assert await counts(cluster) == (300, 20)

    hide = shard_pb2.HideUsersRequest(operation="op-1", distinct_ids=users[:5])
    hidden = await on_each_shard(cluster, acme, rpcs.HIDE_USERS, hide)
    assert sum(answer.rows for answer in hidden) == 25
    assert await counts(cluster) == (225, 15)

    answer = await cluster.import_events("acme", ndjson=lines(users, range(15)))
    assert (answer.accepted, answer.duplicates) == (300, 225)
    assert await counts(cluster) == (300, 20)
    await on_each_shard(cluster, acme, rpcs.HIDE_USERS, hide)
    assert await counts(cluster) == (300, 20)

    async def purged() -> bool:
        answers = await on_each_shard(cluster, acme, rpcs.PURGE, shard_pb2.PurgeRequest(operation="op-1"))
        return all(answer.purged and not answer.rows_left and not answer.waits_for for answer in answers)

    assert not await purged()
    await cluster.until(purged)
    assert await counts(cluster) == (300, 20)
    stored = 0
    for shard in acme.placement.shards:
        figures = await cluster.call(shard, rpcs.GET_SHARD_STORAGE, shard_pb2.GetShardStorageRequest())
        stored += sum(each.log_rows + each.segment_rows for each in figures.tenants)
    assert stored == 300 + 225


async def test_a_horizon_rises_only(cluster: MemoryCluster) -> None:
    acme = await cluster.create_tenant("acme")
    await cluster.import_events("acme", ndjson=lines(["ann", "bob"], range(10)))
    for asked, holds, left in (
        (START_MS + 4, START_MS + 4, 12),
        (START_MS, START_MS + 4, 12),
        (START_MS + 9, START_MS + 9, 2),
    ):
        raised = await on_each_shard(cluster, acme, rpcs.RAISE_HORIZON, shard_pb2.RaiseHorizonRequest(horizon_ms=asked))
        assert {answer.horizon_ms for answer in raised} == {holds}
        assert await counts(cluster) == (left, 2)


async def test_a_deletion_needs_an_operation_and_the_newest_epoch(cluster: MemoryCluster) -> None:
    acme = await cluster.create_tenant("acme")
    (shard, *_) = acme.placement.shards
    for request, code in (
        (shard_pb2.HideUsersRequest(tenant="acme", epoch=1, distinct_ids=["ann"]), "PAYLOAD_INVALID"),
        (shard_pb2.HideUsersRequest(tenant="acme", epoch=9, operation="op", distinct_ids=["ann"]), "STALE_EPOCH"),
        (shard_pb2.HideUsersRequest(tenant="nobody", epoch=1, operation="op"), "TENANT_NOT_FOUND"),
    ):
        with pytest.raises(EvenshardError) as caught:
            await cluster.call(shard, rpcs.HIDE_USERS, request)
        assert caught.value.code == code
