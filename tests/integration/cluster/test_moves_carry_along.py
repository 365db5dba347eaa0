"""What goes along with slots that move: hot keys and their overflow, labels, deletions, settings."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from evenshard.api.v1 import admin_pb2
from evenshard.directory.keys import service_key
from evenshard.directory.placement import even_placement
from evenshard.directory.service import ServiceRecord
from evenshard.errors import EvenshardError
from evenshard.ids import ShardId
from evenshard.ports.directory import Put
from evenshard.testing.cluster import ROUTER, MemoryCluster
from evenshard.testing.crossing import THRESHOLD, Crossing, chancy_cluster
from evenshard.testing.move_traffic import DAY_MS, START_MS, A, B, C, Traffic, began, moved, until
from evenshard.testing.reference import Row, ndjson_of
from evenshard.wire import rpcs


async def crossed(cluster: MemoryCluster, mode: Any, rows: Sequence[Row] = ()) -> Crossing:
    """A tenant on two shards with a key that is hot by now; of some ``rows``."""
    crossing = Crossing(cluster, 6, mode, routers=(ROUTER,))
    crossing.rows = [*(rows or crossing.rows)]
    await crossing.create()
    await cluster.put_tenant(replace(await cluster.tenant(crossing.tenant), placement=even_placement([A, B])))
    await crossing.send_all(2)
    await crossing.until_active()
    return crossing


def restored(answers: Sequence[Any]) -> list[Any]:
    """Those that show events as they came: which of them were over the threshold differs from time to time."""
    return [answers[1], *(text for text, _ in answers[6:])]


@pytest.mark.parametrize("mode", ["rewrite", "salt"])
async def test_hot_keys_move_with_home_and_overflow_and_everything_that_comes_again_is_known(mode: Any) -> None:
    """The overflow's slots go to a shard that was added; then all is as in a cluster that never moved."""
    async with chancy_cluster(6, shards=3, routers=1) as cluster:
        crossing = await crossed(cluster, mode)
        before = await crossing.answers()
        added = await cluster.add_shard()
        await moved(cluster, crossing.tenant, C)
        assert await crossing.answers() == before
        await moved(cluster, crossing.tenant, added, overflow=True)
        placement = (await cluster.tenant(crossing.tenant)).placement
        assert ({piece.shard for piece in placement.slots}, placement.overflow_shards) == ({C}, {added})
        assert await crossing.answers() == before
        assert await crossing.send_all(1) == len(crossing.rows)
        assert await crossing.answers() == before
        await crossing.check()
    async with chancy_cluster(6, shards=3, routers=1) as calm:
        twin = await crossed(calm, mode, crossing.rows)
        assert await twin.send_all(1) == len(twin.rows)
        assert restored(await twin.answers()) == restored(before)


async def test_an_overflow_stays_on_shards_with_the_labels_of_its_tenant() -> None:
    async with chancy_cluster(6, shards=4, routers=1) as cluster:
        zones = dict.fromkeys([A, ShardId("shard-3")], "a") | dict.fromkeys([B, C], "b")
        for shard, zone in zones.items():
            entry = await cluster.directory.get(service_key(shard))
            assert entry is not None
            record = replace(ServiceRecord.from_json(entry.value), labels={"zone": zone})
            await cluster.directory.swap([], [Put(entry.key, record.to_json())])
        crossing = Crossing(cluster, 6, "rewrite", routers=(ROUTER,))
        labels = admin_pb2.RequiredLabels(labels=["zone=b"])
        settings = admin_pb2.TenantSettings(hot_key_threshold=THRESHOLD, hot_key_mode="rewrite", required_labels=labels)
        await cluster.until(lambda: told_zones(cluster, zones))
        create = admin_pb2.CreateTenantRequest(tenant=crossing.tenant, settings=settings)
        await cluster.call(ROUTER, rpcs.CREATE_TENANT, create)
        await crossing.send_all(2)
        await crossing.until_active()
        before = await crossing.answers()
        placement = (await cluster.tenant(crossing.tenant)).placement
        assert set(placement.shards) == {B, C}
        assert placement.overflow_shards <= {B, C}
        elsewhere = admin_pb2.MoveTenantRequest(tenant=crossing.tenant, to=A, overflow=True)
        with pytest.raises(EvenshardError, match="PLACEMENT_UNSATISFIABLE"):
            await began(cluster, rpcs.MOVE_TENANT, elsewhere)
        drained = await began(cluster, rpcs.DRAIN_SHARD, admin_pb2.DrainShardRequest(shard=B))
        await until(cluster, drained, "complete")
        assert set((await cluster.tenant(crossing.tenant)).placement.shards) == {C}
        assert await crossing.send_all(1) == len(crossing.rows)
        assert await crossing.answers() == before


async def told_zones(cluster: MemoryCluster, zones: Mapping[ShardId, str]) -> bool:
    listed = (await cluster.call(ROUTER, rpcs.LIST_SHARDS, admin_pb2.ListShardsRequest())).shards
    return {each.shard: each.labels.get("zone") for each in listed} == zones


async def test_a_deleted_user_and_a_tenant_without_dedupe_are_after_a_move_as_they_were() -> None:
    async with MemoryCluster(shards=3, seed=7) as cluster:
        tenant = await cluster.create_tenant("acme", placement=even_placement([A, B]))
        traffic = Traffic(cluster, "acme")
        await traffic.send(600)
        await cluster.compact(tenant)
        await traffic.send(200)
        users = [f"u{number}" for number in range(0, 97, 3)]
        request = admin_pb2.DeleteUsersRequest(tenant="acme", distinct_ids=users)
        await cluster.call(ROUTER, rpcs.DELETE_USERS, request)
        settings = replace((await cluster.tenant("acme")).settings, dedupe=False)
        await cluster.change_settings("acme", settings)
        span = (START_MS, START_MS + 6 * DAY_MS)
        before = [await cluster.export("acme", *span), await cluster.export("acme", *span, include_duplicates=True)]
        await moved(cluster, "acme", C)
        after = [await cluster.export("acme", *span), await cluster.export("acme", *span, include_duplicates=True)]
        assert after == before
        await cluster.change_settings("acme", replace(settings, dedupe=True))
        gone = [row for row in traffic.rows if row["distinct_id"] in set(users)]
        answer = await cluster.import_events("acme", ndjson=ndjson_of(traffic.rows))
        assert (answer.accepted, answer.duplicates) == (len(traffic.rows), len(traffic.rows) - len(gone))
        await traffic.check()


async def test_of_a_deleted_user_nothing_is_left_where_a_move_came_from() -> None:
    """A shard that has nothing of the tenant any more keeps its trash no longer."""
    async with MemoryCluster(shards=3, seed=10) as cluster:
        tenant = await cluster.create_tenant("acme", placement=even_placement([A]))
        traffic = Traffic(cluster, "acme")
        await traffic.send(300)
        await cluster.compact(tenant)
        await moved(cluster, "acme", B)
        assert await bytes_of(cluster, "acme", A) > 0
        request = admin_pb2.DeleteUsersRequest(tenant="acme", distinct_ids=["u3"])
        deletion = (await cluster.call(ROUTER, rpcs.DELETE_USERS, request)).operation.operation
        await until(cluster, deletion, "complete")
        assert await bytes_of(cluster, "acme", A) == 0
        traffic.rows = [row for row in traffic.rows if row["distinct_id"] != "u3"]
        await traffic.check()


async def bytes_of(cluster: MemoryCluster, tenant: str, shard: ShardId) -> int:
    answer = await cluster.call(shard, rpcs.GET_SHARD_STORAGE, rpcs.GET_SHARD_STORAGE.request(tenant=tenant))
    return sum(each.bytes for each in answer.tenants)
