"""What operators say about shards and tenants: cordons, plans, deleted tenants; each change is written down."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from evenshard.api.v1 import admin_pb2, shard_pb2
from evenshard.directory.audit import Audited
from evenshard.directory.deleted_tenant import KEPT_MS, DeletedTenant
from evenshard.directory.keys import AUDIT, DELETED, EPOCHS, OPERATIONS, SHARD_STATES, deleted_key, epoch_key
from evenshard.errors import EvenshardError
from evenshard.ids import TenantId
from evenshard.ports.directory import Delete, Put
from evenshard.router import operations_driver
from evenshard.testing.cluster import ROUTER, MemoryCluster
from evenshard.testing.reference import ndjson_of
from evenshard.wire import rpcs

START_MS = 1_767_225_600_000


@pytest.fixture
async def cluster() -> AsyncIterator[MemoryCluster]:
    async with MemoryCluster(shards=3) as running:
        yield running


async def refused(work: Any) -> EvenshardError:
    with pytest.raises(EvenshardError) as raised:
        await work
    return raised.value


def options(**given: Any) -> admin_pb2.ChangeOptions:
    return admin_pb2.ChangeOptions(**given)


async def created(cluster: MemoryCluster, name: str) -> admin_pb2.Tenant:
    answer = await cluster.call(ROUTER, rpcs.CREATE_TENANT, admin_pb2.CreateTenantRequest(tenant=name))
    tenant: admin_pb2.Tenant = answer.tenant
    return tenant


async def cordon(cluster: MemoryCluster, shard: str, **given: Any) -> str:
    request = admin_pb2.CordonShardRequest(shard=shard, options=options(**given))
    return str((await cluster.call(ROUTER, rpcs.CORDON_SHARD, request)).shard.state)


async def uncordon(cluster: MemoryCluster, shard: str, **given: Any) -> str:
    request = admin_pb2.UncordonShardRequest(shard=shard, options=options(**given))
    return str((await cluster.call(ROUTER, rpcs.UNCORDON_SHARD, request)).shard.state)


async def states(cluster: MemoryCluster) -> dict[str, str]:
    answer = await cluster.call(ROUTER, rpcs.LIST_SHARDS, admin_pb2.ListShardsRequest())
    return {shard.shard: shard.state for shard in answer.shards}


async def keys(cluster: MemoryCluster, prefix: str) -> list[str]:
    return [entry.key.removeprefix(prefix) for entry in (await cluster.directory.range(prefix)).entries]


async def test_new_tenants_avoid_a_cordoned_shard_until_it_is_uncordoned(cluster: MemoryCluster) -> None:
    assert await cordon(cluster, "shard-1", dry_run=True) == "cordoned"
    assert await keys(cluster, SHARD_STATES) == []
    assert await cordon(cluster, "shard-1", request_id="r") == "cordoned"
    assert await cordon(cluster, "shard-1", request_id="r") == "cordoned"
    assert (await refused(cordon(cluster, "shard-2", request_id="r"))).code == "OPERATION_CONFLICT"
    await cluster.until(lambda: _is(cluster, {"shard-0": "active", "shard-1": "cordoned", "shard-2": "active"}))
    tenant = await created(cluster, "acme")
    assert {piece.shard for piece in tenant.placement.slots} == {"shard-0", "shard-2"}
    assert await uncordon(cluster, "shard-1") == "active"
    assert {piece.shard for piece in (await created(cluster, "bolt")).placement.slots} == set(cluster.shard_names)
    assert (await refused(cordon(cluster, "shard-9"))).code == "SHARD_NOT_FOUND"
    assert (await refused(cordon(cluster, ROUTER))).code == "SHARD_NOT_FOUND"
    assert (await refused(cordon(cluster, "shard-1", expected_revision=1))).code == "OPERATION_CONFLICT"
    for shard in cluster.shard_names:
        await cordon(cluster, shard)
    assert (await refused(created(cluster, "none"))).code == "PLACEMENT_UNSATISFIABLE"
    entries = sorted((await cluster.directory.range(AUDIT)).entries, key=lambda entry: entry.revision)
    told = [Audited.from_json(entry.value) for entry in entries]
    assert [(each.verb, each.subject, each.before, each.after) for each in told][0:3:2] == [
        ("cordon", "shard-1", {"state": "active"}, {"state": "cordoned"}),
        ("uncordon", "shard-1", {"state": "cordoned"}, {"state": "active"}),
    ]


async def _is(cluster: MemoryCluster, wanted: dict[str, str]) -> bool:
    return await states(cluster) == wanted


async def test_a_dry_run_plans_and_changes_nothing_and_bad_targets_are_refused(cluster: MemoryCluster) -> None:
    tenant = await created(cluster, "acme")
    rows = [
        {"event": "e", "distinct_id": f"u{number}", "time": START_MS, "insert_id": str(number), "properties": {}}
        for number in range(90)
    ]
    await cluster.import_events("acme", ndjson=ndjson_of(rows))
    request = admin_pb2.MoveTenantRequest(tenant="acme", to="shard-2", options=options(dry_run=True))
    answer = await cluster.call(ROUTER, rpcs.MOVE_TENANT, request)
    assert not answer.HasField("operation")
    elsewhere = [piece for piece in tenant.placement.slots if piece.shard != "shard-2"]
    moves = [(each.first, each.last, each.source, each.target) for each in answer.plan.moves]
    assert moves == [(piece.first, piece.last, piece.shard, "shard-2") for piece in elsewhere]
    assert 40 < sum(each.rows for each in answer.plan.moves) < 80
    assert {load.shard: load.rows_after for load in answer.plan.loads} == {"shard-0": 0, "shard-1": 0, "shard-2": 90}
    assert answer.plan.skew_after == 3.0
    assert answer.plan.directory_revision >= tenant.revision
    assert await keys(cluster, OPERATIONS) == []
    await cordon(cluster, "shard-1")
    for code, changed in {
        "SHARD_NOT_FOUND": {"to": "shard-7"},
        "SHARD_NOT_ELIGIBLE": {"to": "shard-1"},
        "QUERY_INVALID": {"slots": admin_pb2.WantedSlots(first=9, last=4)},
        "TENANT_NOT_FOUND": {"tenant": "nobody"},
        "TENANT_NAME_INVALID": {"tenant": "No!"},
    }.items():
        bad = admin_pb2.MoveTenantRequest(**{"tenant": "acme", "to": "shard-2", **changed})
        assert (await refused(cluster.call(ROUTER, rpcs.MOVE_TENANT, bad))).code == code
    slow = admin_pb2.MoveTenantRequest(tenant="acme", to="shard-2", bytes_per_second=5)
    assert (await refused(cluster.call(ROUTER, rpcs.MOVE_TENANT, slow))).code == "QUERY_INVALID"
    down = admin_pb2.MoveTenantRequest(tenant="acme", to="shard-2")
    await cluster.crash("shard-2")
    assert (await refused(cluster.call(ROUTER, rpcs.MOVE_TENANT, down))).code == "SHARD_NOT_ELIGIBLE"
    assert await keys(cluster, OPERATIONS) == []


async def test_a_deleted_tenant_is_gone_at_once_and_comes_back_as_it_was(cluster: MemoryCluster) -> None:
    await created(cluster, "acme")
    rows = [
        {"event": "e", "distinct_id": "u", "time": START_MS, "insert_id": str(number), "properties": {}}
        for number in range(9)
    ]
    await cluster.import_events("acme", ndjson=ndjson_of(rows))
    before = await cluster.export("acme", START_MS, START_MS + 1)
    request = admin_pb2.DeleteTenantRequest(tenant="acme", options=options(request_id="d"))
    answer = await cluster.call(ROUTER, rpcs.DELETE_TENANT, request)
    again = await cluster.call(ROUTER, rpcs.DELETE_TENANT, request)
    assert (answer.tenant.name, answer.kept_until_ms) == ("acme", again.kept_until_ms)
    assert abs(answer.kept_until_ms - KEPT_MS - cluster.clock.now_ms()) < 60_000
    assert (await refused(cluster.import_events("acme", ndjson=ndjson_of(rows)))).code == "TENANT_NOT_FOUND"
    await cluster.until(lambda: _unknown(cluster, "acme"))
    assert (await refused(created(cluster, "acme"))).code == "TENANT_EXISTS"
    gone = admin_pb2.DeleteTenantRequest(tenant="acme")
    error = await refused(cluster.call(ROUTER, rpcs.DELETE_TENANT, gone))
    assert (error.code, "undelete-tenant acme" in error.hint) == ("TENANT_NOT_FOUND", True)
    back = admin_pb2.UndeleteTenantRequest(tenant="acme")
    answer = await cluster.call(ROUTER, rpcs.UNDELETE_TENANT, back)
    assert answer.tenant.placement.epoch == 2
    assert (await refused(cluster.call(ROUTER, rpcs.UNDELETE_TENANT, back))).code == "TENANT_EXISTS"
    imported = await cluster.import_events("acme", ndjson=ndjson_of(rows))
    assert (imported.accepted, imported.duplicates) == (9, 9)
    assert await cluster.export("acme", START_MS, START_MS + 1) == before
    nobody = admin_pb2.UndeleteTenantRequest(tenant="nobody")
    assert (await refused(cluster.call(ROUTER, rpcs.UNDELETE_TENANT, nobody))).code == "TENANT_NOT_FOUND"


async def _unknown(cluster: MemoryCluster, name: str) -> bool:
    try:
        await cluster.export(name, START_MS, START_MS + 1)
    except EvenshardError as error:
        return error.code == "TENANT_NOT_FOUND"
    return False


async def test_a_tenant_that_was_removed_begins_anew_beyond_its_last_epoch(cluster: MemoryCluster) -> None:
    await cluster.directory.swap([], [Put(epoch_key(TenantId("acme")), json.dumps({"epoch": 6}).encode())])
    assert (await created(cluster, "acme")).placement.epoch == 7
    assert await keys(cluster, EPOCHS) == ["acme"]


async def test_after_seven_days_nothing_of_it_is_left_but_its_epoch(
    cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations_driver, "PRUNE_EVERY_MS", 100.0)
    await created(cluster, "acme")
    await created(cluster, "bolt")
    rows = [
        {"event": "e", "distinct_id": f"u{number}", "time": START_MS, "insert_id": str(number), "properties": {}}
        for number in range(30)
    ]
    for name in ("acme", "bolt"):
        await cluster.import_events(name, ndjson=ndjson_of(rows))
    await cluster.compact(await cluster.tenant("acme"))
    await cluster.import_events("acme", ndjson=ndjson_of(rows))
    tenant = await cluster.tenant("acme")
    old = DeletedTenant(tenant, cluster.clock.now_ms() - KEPT_MS - 1, "me")
    await cluster.directory.swap(
        [], [Put(deleted_key(tenant.name), old.to_json()), Delete(f"/evenshard/tenants/{tenant.name}")]
    )
    for router in (ROUTER,):  # the leader looks again when it begins
        await cluster.stop(router)
        await cluster.start(router)

    async def removed() -> bool:
        return await keys(cluster, EPOCHS) == ["acme"]

    await cluster.until(removed, 20)
    assert await keys(cluster, DELETED) == []
    for shard in cluster.shard_names:
        stored = (await cluster.call(shard, rpcs.GET_SHARD_STORAGE, shard_pb2.GetShardStorageRequest())).tenants
        assert {each.tenant for each in stored if each.log_rows + each.segment_rows + each.bytes} == {"bolt"}
    assert (await created(cluster, "acme")).placement.epoch == 2
    answer = await cluster.import_events("acme", ndjson=ndjson_of(rows))
    assert (answer.accepted, answer.duplicates) == (30, 0)


async def test_too_late_it_cannot_be_had_back(cluster: MemoryCluster) -> None:
    await created(cluster, "acme")
    tenant = await cluster.tenant("acme")
    old = DeletedTenant(tenant, cluster.clock.now_ms() - KEPT_MS - 1, "me")
    await cluster.directory.swap(
        [], [Put(deleted_key(tenant.name), old.to_json()), Delete(f"/evenshard/tenants/{tenant.name}")]
    )
    back = admin_pb2.UndeleteTenantRequest(tenant="acme")
    assert (await refused(cluster.call(ROUTER, rpcs.UNDELETE_TENANT, back))).code == "TENANT_NOT_FOUND"
    assert await keys(cluster, DELETED) == ["acme"]
