"""What operators say about shards and tenants: cordons, plans, deleted tenants; each change is written down."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from evenshard.api.v1 import admin_pb2, shard_pb2
from evenshard.directory.audit import Audited, in_order
from evenshard.directory.deleted_tenant import KEPT_MS, DeletedTenant
from evenshard.directory.keys import (
    AUDIT,
    DELETED,
    EPOCHS,
    OPERATIONS,
    SHARD_STATES,
    deleted_key,
    epoch_key,
    service_key,
)
from evenshard.directory.service import ServiceRecord
from evenshard.errors import EvenshardError
from evenshard.ids import Revision, TenantId
from evenshard.ports.directory import Delete, Entry, Put
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


async def changes(cluster: MemoryCluster, **asked: Any) -> admin_pb2.ListAuditResponse:
    return await cluster.call(ROUTER, rpcs.LIST_AUDIT, admin_pb2.ListAuditRequest(**asked))


async def test_what_operators_changed_is_listed_in_its_order(cluster: MemoryCluster) -> None:
    await created(cluster, "acme")
    patch = admin_pb2.TenantSettings(hot_key_threshold=5_000)
    await cluster.call(ROUTER, rpcs.UPDATE_TENANT, admin_pb2.UpdateTenantRequest(tenant="acme", settings=patch))
    await created(cluster, "bolt")
    await cluster.call(ROUTER, rpcs.CORDON_SHARD, admin_pb2.CordonShardRequest(shard="shard-1"))
    begun = await cluster.call(ROUTER, rpcs.MERGE_TENANT, admin_pb2.MergeTenantRequest(tenant="acme", to="shard-2"))
    found = await changes(cluster)
    assert [(each.verb, each.subject) for each in found.changes] == [
        ("create-tenant", "acme"),
        ("update-tenant", "acme"),
        ("create-tenant", "bolt"),
        ("cordon", "shard-1"),
        ("merge", begun.operation.operation),
    ]
    revisions = [each.revision for each in found.changes]
    assert (revisions, found.left_out) == (sorted(set(revisions)), 0)
    told = found.changes[1]
    before, after = json.loads(told.before_json), json.loads(told.after_json)
    assert (before["hot_key_threshold"], after["hot_key_threshold"], told.who) == (100_000, 5_000, "development")
    assert found.changes[0].before_json == ""


async def test_changes_are_found_by_what_they_changed_and_by_their_verb(cluster: MemoryCluster) -> None:
    for name in ("acme", "bolt"):
        await created(cluster, name)
    await cluster.call(ROUTER, rpcs.MERGE_TENANT, admin_pb2.MergeTenantRequest(tenant="acme", to="shard-2"))

    async def verbs(**asked: Any) -> list[str]:
        return [each.verb for each in (await changes(cluster, **asked)).changes]

    assert await verbs(subject="acme") == ["create-tenant", "merge"]
    assert await verbs(subject="bolt") == ["create-tenant"]
    assert await verbs(subject="shard-2") == ["merge"]
    assert await verbs(subject="shard-7") == []
    assert await verbs(verb="create-tenant") == ["create-tenant", "create-tenant"]
    assert await verbs(subject="acme", verb="create-tenant") == ["create-tenant"]
    newest = await changes(cluster, limit=1)
    assert ([each.verb for each in newest.changes], newest.left_out) == (["merge"], 2)
    assert (await refused(changes(cluster, limit=10_001))).code == "LIMIT_EXCEEDED"
    assert (await refused(changes(cluster, limit=-1))).code == "LIMIT_EXCEEDED"


async def test_who_deletes_users_is_told_and_not_whom(cluster: MemoryCluster) -> None:
    await created(cluster, "acme")
    request = admin_pb2.DeleteUsersRequest(tenant="acme", distinct_ids=["ann", "bo"])
    operation = (await cluster.call(ROUTER, rpcs.DELETE_USERS, request)).operation
    [change] = (await changes(cluster, verb="delete-users")).changes
    assert (change.subject, change.who, change.before_json) == ("acme", "development", "")
    assert json.loads(change.after_json) == {"operation": operation.operation, "users": 2}


def test_changes_of_one_moment_stand_in_the_order_of_their_swaps() -> None:
    told = [Audited(7, "me", f"verb {number}", "acme") for number in range(3)]
    entries = [
        Entry(each.put(nonce).key, each.put(nonce).value, Revision(9 - number))
        for number, (each, nonce) in enumerate(zip(told, "abc", strict=True))
    ]
    assert [audited.verb for _, audited in in_order(entries)] == ["verb 2", "verb 1", "verb 0"]


async def labelled(cluster: MemoryCluster, **zones: str) -> None:
    """Shards get labels, and the router has seen them."""
    for shard, zone in zones.items():
        entry = await cluster.directory.get(service_key(shard.replace("_", "-")))
        assert entry is not None
        record = replace(ServiceRecord.from_json(entry.value), labels={"zone": zone})
        await cluster.directory.swap([], [Put(entry.key, record.to_json())])

    async def seen() -> bool:
        listed = (await cluster.call(ROUTER, rpcs.LIST_SHARDS, admin_pb2.ListShardsRequest())).shards
        found = {each.shard.replace("-", "_"): each.labels.get("zone") for each in listed}
        return all(found[shard] == zone for shard, zone in zones.items())

    await cluster.until(seen)


def requiring(*labels: str) -> admin_pb2.TenantSettings:
    return admin_pb2.TenantSettings(required_labels=admin_pb2.RequiredLabels(labels=labels))


async def test_a_tenant_is_placed_only_on_shards_with_its_labels(cluster: MemoryCluster) -> None:
    await labelled(cluster, shard_0="a", shard_1="b", shard_2="b")
    create = admin_pb2.CreateTenantRequest(tenant="acme", settings=requiring("zone=b"))
    tenant = (await cluster.call(ROUTER, rpcs.CREATE_TENANT, create)).tenant
    assert [piece.shard for piece in tenant.placement.slots] == ["shard-1", "shard-2"]
    assert list(tenant.settings.required_labels.labels) == ["zone=b"]
    for verb, request in (
        (rpcs.MERGE_TENANT, admin_pb2.MergeTenantRequest(tenant="acme", to="shard-0")),
        (rpcs.SPLIT_TENANT, admin_pb2.SplitTenantRequest(tenant="acme", to=["shard-0"])),
        (rpcs.MOVE_TENANT, admin_pb2.MoveTenantRequest(tenant="acme", to="shard-0")),
        (rpcs.ISOLATE_TENANT, admin_pb2.IsolateTenantRequest(tenant="acme", to="shard-0")),
    ):
        error = await refused(cluster.call(ROUTER, verb, request))
        assert (error.code, "label zone is one of b" in error.message) == ("PLACEMENT_UNSATISFIABLE", True)
    assert await keys(cluster, OPERATIONS) == []
    drain = admin_pb2.DrainShardRequest(shard="shard-1", options=options(dry_run=True))
    plan = (await cluster.call(ROUTER, rpcs.DRAIN_SHARD, drain)).plan
    assert {move.target for move in plan.moves} == {"shard-2"}


async def test_labels_that_no_shard_has_are_refused_and_others_hold_from_the_next_move_on(
    cluster: MemoryCluster,
) -> None:
    await labelled(cluster, shard_0="a", shard_1="b", shard_2="b")
    nowhere = admin_pb2.CreateTenantRequest(tenant="acme", settings=requiring("zone=z"))
    error = await refused(cluster.call(ROUTER, rpcs.CREATE_TENANT, nowhere))
    assert (error.code, "zone=z" in error.message) == ("PLACEMENT_UNSATISFIABLE", True)
    before = await created(cluster, "acme")

    async def update(*labels: str) -> admin_pb2.Tenant:
        request = admin_pb2.UpdateTenantRequest(tenant="acme", settings=requiring(*labels))
        return (await cluster.call(ROUTER, rpcs.UPDATE_TENANT, request)).tenant

    assert (await refused(update("zone=z"))).code == "PLACEMENT_UNSATISFIABLE"
    assert (await refused(update("zone"))).code == "QUERY_INVALID"
    changed = await update("zone=a")
    assert changed.placement == before.placement
    merge = admin_pb2.MergeTenantRequest(tenant="acme", to="shard-2")
    assert (await refused(cluster.call(ROUTER, rpcs.MERGE_TENANT, merge))).code == "PLACEMENT_UNSATISFIABLE"
    assert list((await update()).settings.required_labels.labels) == []
    await cluster.call(ROUTER, rpcs.MERGE_TENANT, merge)
