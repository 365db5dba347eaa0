"""The admin service on ports in memory: whole answers, sent again, under conflict, with silent shards."""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from evenshard.api.v1 import admin_pb2, common_pb2, shard_pb2
from evenshard.directory.keys import REQUESTS, TENANTS, service_key, tenant_key
from evenshard.directory.placement import even_placement
from evenshard.directory.service import Kind, ServiceRecord
from evenshard.directory.tenant import Tenant, tenant_id
from evenshard.errors import EvenshardError
from evenshard.ids import Epoch
from evenshard.ports.directory import Delete, Put
from evenshard.router import admin_status
from evenshard.router.admin_service import AdminService
from evenshard.router.cluster_facts import ClusterFacts
from evenshard.router.moves_admin import MoveAdmin
from evenshard.router.operations_admin import OperationAdmin
from evenshard.router.repairs_admin import RepairAdmin
from evenshard.router.tenant_shards import TenantShards
from evenshard.runtime.blocked import BlockedView
from evenshard.runtime.call import current_call
from evenshard.runtime.clock import SystemClock
from evenshard.runtime.operations import OperationView
from evenshard.runtime.process_info import this_host
from evenshard.runtime.service import Servicer
from evenshard.runtime.services import ServiceView
from evenshard.runtime.shard_states import ShardStateView
from evenshard.runtime.tenants import TenantView
from evenshard.testing.directory import MemoryDirectory
from evenshard.testing.peers import MemoryPeers
from evenshard.testing.rng import SeededRng
from evenshard.wire import rpcs
from evenshard.wire.health import HEALTH_SERVICE
from grpc_health.v1 import health_pb2

ROUTER = "router:1"


def nothing(*_: Any) -> None:
    """Servicers in memory are added to no server."""


@dataclass
class Shard:
    """Answers ``Compact`` and ``GetShardStorage`` as told, and keeps what it was asked."""

    rows: dict[str, int] = field(default_factory=dict)
    errors: list[EvenshardError] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)
    timeouts_s: list[float] = field(default_factory=list)

    async def Compact(self, request: Any, context: Any) -> shard_pb2.CompactResponse:
        self._note(request)
        rows = self.rows[request.tenant]
        return shard_pb2.CompactResponse(segments_written=1, rows=rows, duplicates_marked=2, backlog_rows=3)

    async def GetShardStorage(self, request: Any, context: Any) -> shard_pb2.GetShardStorageResponse:
        self._note(request)
        return shard_pb2.GetShardStorageResponse(
            tenants=[
                shard_pb2.ShardTenantStorage(
                    tenant=name, log_rows=1, segment_rows=rows, duplicate_rows=2, segments=3, files=6, bytes=rows * 10
                )
                for name, rows in self.rows.items()
                if request.tenant in ("", name)
            ],
            compaction=self._state(False),
        )

    async def SetShardCompaction(self, request: Any, context: Any) -> shard_pb2.SetShardCompactionResponse:
        self._note(request)
        return shard_pb2.SetShardCompactionResponse(state=self._state(request.paused))

    def _state(self, paused: bool) -> common_pb2.CompactionState:
        return common_pb2.CompactionState(shard=f"of {len(self.rows)} tenants", paused=paused, backlog_rows=4)

    def _note(self, request: Any) -> None:
        self.asked.append(request)
        self.timeouts_s.append(current_call().remaining_s())
        if self.errors:
            raise self.errors.pop(0)


@dataclass
class Health:
    status: int = health_pb2.HealthCheckResponse.SERVING

    async def Check(self, request: Any, context: Any) -> Any:
        assert request.service == ""
        return health_pb2.HealthCheckResponse(status=self.status)


class World:
    """A router's admin service over two shards."""

    def __init__(self, seed: int) -> None:
        clock = SystemClock()
        self.directory = MemoryDirectory(clock)
        self.peers = MemoryPeers(clock, SeededRng(seed))
        self.tenants = TenantView(self.directory, clock)
        self.services = ServiceView(self.directory, clock)
        shards = TenantShards(self.tenants, self.services, self.peers)
        operations = OperationView(self.directory, clock)
        blocked = BlockedView(self.directory, clock)
        repairs = RepairAdmin(self.directory, operations, shards, clock, SeededRng(seed))
        operation_admin = OperationAdmin(self.directory, operations, blocked, None, repairs, clock, SeededRng(seed))
        self.admin = AdminService(
            self.directory,
            self.tenants,
            self.services,
            self.peers,
            clock,
            SeededRng(seed),
            shards,
            operation_admin,
            repairs,
            MoveAdmin(
                self.directory,
                self.tenants,
                operations,
                ClusterFacts(self.directory, self.tenants, self.services, shards),
                clock,
                SeededRng(seed),
            ),
            ShardStateView(self.directory, clock),
            ["http://etcd:2379"],
        )
        self.shards = {"shard-0": Shard(), "shard-1": Shard()}
        self.health: dict[str, Health] = {}

    async def start(self) -> None:
        await self.tenants.start()
        await self.services.start()
        self.peers.register(ROUTER, [Servicer(rpcs.ADMIN_SERVICE, nothing, self.admin)])
        for name, shard in self.shards.items():
            await self.list_service(name, "shard", Servicer(rpcs.SHARD_SERVICE, nothing, shard))

    async def list_service(self, name: str, kind: Kind, *servicers: Servicer, host: str = "elsewhere") -> None:
        record = ServiceRecord(name, kind, f"{name}:1", host, os.getpid(), 0)
        health = self.health[name] = Health()
        self.peers.register(record.address, [*servicers, Servicer(HEALTH_SERVICE, nothing, health)])
        await self.directory.swap([], [Put(service_key(name), record.to_json())])
        await asyncio.sleep(0.01)

    async def close(self) -> None:
        await self.tenants.close()
        await self.services.close()
        await self.peers.close()

    async def call(self, rpc: Any, request: Any, timeout_s: float = 10.0) -> Any:
        return await self.peers.call(ROUTER, rpc, request, timeout_s=timeout_s)

    async def create(self, name: str, **options: Any) -> admin_pb2.Tenant:
        request = admin_pb2.CreateTenantRequest(tenant=name, options=admin_pb2.ChangeOptions(**options))
        return (await self.call(rpcs.CREATE_TENANT, request)).tenant

    async def update(self, name: str, settings: admin_pb2.TenantSettings, **options: Any) -> admin_pb2.Tenant:
        request = admin_pb2.UpdateTenantRequest(
            tenant=name, settings=settings, options=admin_pb2.ChangeOptions(**options)
        )
        return (await self.call(rpcs.UPDATE_TENANT, request)).tenant

    async def shown(self, name: str) -> admin_pb2.Tenant:
        return (await self.call(rpcs.GET_TENANT, admin_pb2.GetTenantRequest(tenant=name))).tenant


@pytest.fixture
async def world() -> AsyncIterator[World]:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    made = World(seed)
    await made.start()
    yield made
    await made.close()


async def code_of(awaitable: Any) -> str:
    with pytest.raises(EvenshardError) as raised:
        await awaitable
    return raised.value.code


def expected_tenant(name: str, revision: int, **settings: Any) -> admin_pb2.Tenant:
    return admin_pb2.Tenant(
        name=name,
        settings=admin_pb2.TenantSettings(
            **{
                "timezone": "UTC",
                "dedupe": True,
                "strict": False,
                "hot_key_threshold": 100_000,
                "hot_key_mode": "rewrite",
                "retention_days": 0,
                "events_per_second": 0,
                "bytes_per_second": 0,
                "owners": admin_pb2.Owners(),
                "report_sink": "",
                "required_labels": admin_pb2.RequiredLabels(),
                **settings,
            }
        ),
        placement=common_pb2.Placement(
            epoch=1,
            slots=[
                common_pb2.SlotRange(first=0, last=2047, shard="shard-0"),
                common_pb2.SlotRange(first=2048, last=4095, shard="shard-1"),
            ],
        ),
        revision=revision,
    )


async def test_a_created_tenant_is_known_to_its_router_when_the_answer_comes(world: World) -> None:
    world.directory.pause_watches()
    created = await world.create("acme")
    assert created == expected_tenant("acme", created.revision)
    known = world.tenants.get("acme")
    assert known is not None
    assert known.placement == even_placement(["shard-0", "shard-1"])  # type: ignore[list-item]
    assert world.tenants.revision_of("acme") == created.revision
    assert await world.shown("acme") == created


async def test_creating_is_refused_for_a_bad_name_a_taken_name_or_without_shards(world: World) -> None:
    assert await code_of(world.create("../x")) == "TENANT_NAME_INVALID"
    await world.create("acme")
    assert await code_of(world.create("acme")) == "TENANT_EXISTS"
    await world.directory.swap([], [Delete(service_key("shard-0")), Delete(service_key("shard-1"))])
    assert await code_of(world.create("other")) == "PLACEMENT_UNSATISFIABLE"
    assert [each.key for each in (await world.directory.range(TENANTS)).entries] == [tenant_key(tenant_id("acme"))]


async def test_an_update_changes_settings_and_neither_placement_nor_epoch(world: World) -> None:
    await world.create("acme")
    updated = await world.update("acme", admin_pb2.TenantSettings(timezone="Europe/Berlin", strict=True))
    assert updated == expected_tenant("acme", updated.revision, timezone="Europe/Berlin", strict=True)
    updated = await world.update("acme", admin_pb2.TenantSettings(dedupe=False, strict=False))
    assert updated == expected_tenant("acme", updated.revision, timezone="Europe/Berlin", dedupe=False)
    assert await world.shown("acme") == updated
    known = world.tenants.get("acme")
    assert known is not None
    assert (known.settings.timezone, known.settings.dedupe) == ("Europe/Berlin", False)
    with pytest.raises(EvenshardError) as raised:
        await world.update("acme", admin_pb2.TenantSettings(timezone="Mars/Olympus"))
    assert (raised.value.code, [each.field for each in raised.value.fields]) == ("QUERY_INVALID", ["timezone"])
    assert await code_of(world.update("nobody", admin_pb2.TenantSettings())) == "TENANT_NOT_FOUND"
    assert await code_of(world.shown("nobody")) == "TENANT_NOT_FOUND"
    assert await code_of(world.shown("No")) == "TENANT_NAME_INVALID"


async def test_tenants_are_listed_by_name(world: World) -> None:
    created = [await world.create(name) for name in ("b", "c", "a")]
    listed = await world.call(rpcs.LIST_TENANTS, admin_pb2.ListTenantsRequest())
    assert list(listed.tenants) == sorted(created, key=lambda tenant: tenant.name)


async def test_a_request_sent_again_answers_as_the_first_did_and_changes_nothing(world: World) -> None:
    created = await world.create("acme", request_id="r1")
    first = await world.update("acme", admin_pb2.TenantSettings(strict=True), request_id="r2")
    await world.update("acme", admin_pb2.TenantSettings(strict=False))
    last = await world.shown("acme")
    assert await world.create("acme", request_id="r1") == created
    assert await world.update("acme", admin_pb2.TenantSettings(strict=True), request_id="r2") == first
    assert await world.shown("acme") == last
    known = world.tenants.get("acme")
    assert known is not None
    assert not known.settings.strict


async def test_a_request_id_used_for_another_change_is_a_conflict(world: World) -> None:
    await world.create("acme", request_id="r1")
    assert await code_of(world.create("other", request_id="r1")) == "OPERATION_CONFLICT"
    assert await code_of(world.update("acme", admin_pb2.TenantSettings(), request_id="r1")) == "OPERATION_CONFLICT"
    assert await code_of(world.create("other", request_id="x" * 129)) == "QUERY_INVALID"


async def test_a_request_whose_answer_was_lost_on_the_way_is_settled_by_sending_it_again(world: World) -> None:
    world.directory.lose_reply_next()
    with pytest.raises(EvenshardError) as raised:
        await world.create("acme", request_id="r1")
    assert (raised.value.code, raised.value.in_doubt) == ("DIRECTORY_UNAVAILABLE", True)
    created = await world.create("acme", request_id="r1")
    assert created == expected_tenant("acme", created.revision)
    world.peers.lose_answers(ROUTER, rpcs.CREATE_TENANT)
    assert await code_of(world.create("other", request_id="r2")) == "UNREACHABLE"
    assert (await world.create("other", request_id="r2")).name == "other"


async def test_the_same_request_sent_twice_at_once_makes_one_change(world: World) -> None:
    async def create_after(turns: int) -> admin_pb2.Tenant:
        for _ in range(turns):
            await asyncio.sleep(0)
        return await world.create("acme", request_id="r1")

    answers = await asyncio.gather(*(create_after(turns) for turns in range(60)))
    assert answers == [answers[0]] * 60
    assert len((await world.directory.range(REQUESTS)).entries) == 1


async def test_a_request_id_is_forgotten_after_an_hour(world: World) -> None:
    await world.create("acme", request_id="r1")
    world.directory.lapse(1)
    assert list((await world.directory.range(REQUESTS)).entries) == []
    assert await code_of(world.create("acme", request_id="r1")) == "TENANT_EXISTS"


async def test_a_dry_run_answers_what_would_be_and_changes_nothing(world: World) -> None:
    before = await world.directory.range("")
    planned = await world.create("acme", dry_run=True, request_id="r1")
    assert planned == expected_tenant("acme", 0)
    assert await world.directory.range("") == before
    assert world.tenants.get("acme") is None
    created = await world.create("acme", request_id="r1")
    planned = await world.update("acme", admin_pb2.TenantSettings(strict=True), dry_run=True)
    assert planned == expected_tenant("acme", created.revision, strict=True)
    assert await world.shown("acme") == created
    assert await code_of(world.create("acme", dry_run=True)) == "TENANT_EXISTS"


async def test_an_expected_revision_that_is_not_the_tenants_is_a_conflict(world: World) -> None:
    created = await world.create("acme")
    updated = await world.update("acme", admin_pb2.TenantSettings(strict=True), expected_revision=created.revision)
    conflict = world.update("acme", admin_pb2.TenantSettings(strict=False), expected_revision=created.revision)
    assert await code_of(conflict) == "OPERATION_CONFLICT"
    assert await world.shown("acme") == updated


async def test_changes_at_once_all_take_effect(world: World) -> None:
    await world.create("acme")
    await asyncio.gather(
        world.update("acme", admin_pb2.TenantSettings(timezone="Asia/Kolkata")),
        world.update("acme", admin_pb2.TenantSettings(dedupe=False)),
        world.update("acme", admin_pb2.TenantSettings(strict=True)),
    )
    shown = await world.shown("acme")
    assert shown == expected_tenant("acme", shown.revision, timezone="Asia/Kolkata", dedupe=False, strict=True)


async def test_without_a_directory_changes_fail_and_say_so(world: World) -> None:
    world.directory.go_away()
    assert await code_of(world.create("acme")) == "DIRECTORY_UNAVAILABLE"


async def test_compacting_asks_every_shard_of_the_tenant_and_adds_up(world: World) -> None:
    await world.create("acme")
    for rows, shard in zip((10, 32), world.shards.values(), strict=True):
        shard.rows["acme"] = rows
    request = admin_pb2.CompactTenantRequest(tenant="acme", day="2026-02-28", wait=True)
    assert await world.call(rpcs.COMPACT_TENANT, request) == admin_pb2.CompactTenantResponse(
        segments_written=2, rows=42, duplicates_marked=4, backlog_rows=6
    )
    for shard in world.shards.values():
        assert shard.asked == [shard_pb2.CompactRequest(tenant="acme", epoch=1, day="2026-02-28", wait=True)]
        assert shard.timeouts_s[0] < 8.0


async def test_compacting_reads_the_placement_again_where_a_shard_knows_a_newer_one(world: World) -> None:
    await world.create("acme")
    for shard in world.shards.values():
        shard.rows["acme"] = 1
    world.directory.pause_watches()
    key = tenant_key(tenant_id("acme"))
    entry = await world.directory.get(key)
    assert entry is not None
    old = Tenant.from_json(entry.value)
    new = Tenant(old.name, old.settings, even_placement(old.placement.shards, Epoch(2)), "other")
    await world.directory.swap([], [Put(key, new.to_json())])
    world.shards["shard-1"].errors.append(EvenshardError("STALE_EPOCH", "it is at epoch 2"))
    answer = await world.call(rpcs.COMPACT_TENANT, admin_pb2.CompactTenantRequest(tenant="acme"))
    assert (answer.segments_written, answer.rows) == (2, 2)
    assert [each.epoch for each in world.shards["shard-0"].asked] == [1]
    assert [each.epoch for each in world.shards["shard-1"].asked] == [1, 2]
    world.shards["shard-1"].errors = [EvenshardError("STALE_EPOCH", "always newer")] * 9
    assert (
        await code_of(world.call(rpcs.COMPACT_TENANT, admin_pb2.CompactTenantRequest(tenant="acme"))) == "STALE_EPOCH"
    )
    assert len(world.shards["shard-1"].asked) == 5


async def test_a_silent_shard_is_named_before_the_callers_deadline(world: World) -> None:
    await world.create("acme")
    for shard in world.shards.values():
        shard.rows["acme"] = 1
    world.peers.delay("shard-1:1", 60_000)
    for rpc, request in [
        (rpcs.COMPACT_TENANT, admin_pb2.CompactTenantRequest(tenant="acme")),
        (rpcs.GET_STORAGE, admin_pb2.GetStorageRequest(tenant="acme")),
        (rpcs.GET_STORAGE, admin_pb2.GetStorageRequest()),
    ]:
        with pytest.raises(EvenshardError) as raised:
            await world.call(rpc, request, timeout_s=0.5)
        assert (raised.value.code, raised.value.details["shards"]) == ("SHARD_UNAVAILABLE", "shard-1")
        assert "shard-1" in raised.value.message
    world.peers.partition("shard-0:1")
    with pytest.raises(EvenshardError) as raised:
        await world.call(rpcs.GET_STORAGE, admin_pb2.GetStorageRequest(), timeout_s=0.5)
    assert (raised.value.code, raised.value.details["shards"]) == ("SHARD_UNAVAILABLE", "shard-0, shard-1")


async def test_what_a_shard_refuses_arrives_with_its_name_and_code(world: World) -> None:
    await world.create("acme")
    world.shards["shard-1"].errors.append(EvenshardError("DISK_FULL", "no space"))
    world.shards["shard-0"].rows["acme"] = 1
    with pytest.raises(EvenshardError) as raised:
        await world.call(rpcs.COMPACT_TENANT, admin_pb2.CompactTenantRequest(tenant="acme"))
    assert (raised.value.code, raised.value.message, raised.value.details["shard"]) == (
        "DISK_FULL",
        "shard-1: no space",
        "shard-1",
    )


async def test_compacting_nobody_or_a_day_that_is_none_is_refused(world: World) -> None:
    def compact(tenant: str, day: str = "") -> Any:
        return world.call(rpcs.COMPACT_TENANT, admin_pb2.CompactTenantRequest(tenant=tenant, day=day))

    assert await code_of(compact("nobody")) == "TENANT_NOT_FOUND"
    assert await code_of(compact("../x")) == "TENANT_NAME_INVALID"
    await world.create("acme")
    for day in ("2026-02-29", "20260228", "tomorrow", "2026-2-3"):
        assert await code_of(compact("acme", day)) == "RANGE_INVALID"


async def test_storage_is_added_up_by_tenant(world: World) -> None:
    def stored(name: str, shards: int, rows: int) -> admin_pb2.TenantStorage:
        return admin_pb2.TenantStorage(
            tenant=name,
            log_rows=shards,
            segment_rows=rows,
            duplicate_rows=2 * shards,
            segments=3 * shards,
            files=6 * shards,
            bytes=10 * rows,
        )

    await world.create("acme")
    await world.create("empty")
    world.shards["shard-0"].rows = {"acme": 5, "zoo": 1}
    world.shards["shard-1"].rows = {"acme": 7, "bee": 2}
    everybody = await world.call(rpcs.GET_STORAGE, admin_pb2.GetStorageRequest())
    assert list(everybody.tenants) == [stored("acme", 2, 12), stored("bee", 1, 2), stored("zoo", 1, 1)]
    one = await world.call(rpcs.GET_STORAGE, admin_pb2.GetStorageRequest(tenant="acme"))
    assert list(one.tenants) == [stored("acme", 2, 12)]
    none = await world.call(rpcs.GET_STORAGE, admin_pb2.GetStorageRequest(tenant="empty"))
    assert list(none.tenants) == [stored("empty", 0, 0)]
    assert await code_of(world.call(rpcs.GET_STORAGE, admin_pb2.GetStorageRequest(tenant="no"))) == "TENANT_NOT_FOUND"


async def test_pausing_tells_every_shard_or_those_of_a_tenant_and_shows_how_they_stand(world: World) -> None:
    await world.create("acme")
    world.shards["shard-0"].rows = {"acme": 5, "zoo": 1}
    for paused in (True, False):
        answer = await world.call(rpcs.SET_COMPACTION, admin_pb2.SetCompactionRequest(paused=paused))
        assert [(state.shard, state.paused) for state in answer.shards] == [
            ("of 2 tenants", paused), ("of 0 tenants", paused),
        ]  # fmt: skip
    await world.call(rpcs.SET_COMPACTION, admin_pb2.SetCompactionRequest(tenant="acme", paused=True))
    for shard in world.shards.values():
        assert [(each.tenant, each.paused) for each in shard.asked] == [("", True), ("", False), ("acme", True)]
    nobody = world.call(rpcs.SET_COMPACTION, admin_pb2.SetCompactionRequest(tenant="nobody"))
    assert await code_of(nobody) == "TENANT_NOT_FOUND"
    storage = await world.call(rpcs.GET_STORAGE, admin_pb2.GetStorageRequest())
    assert [state.shard for state in storage.compaction] == ["of 0 tenants", "of 2 tenants"]


async def states(world: World) -> tuple[bool, dict[str, tuple[str, str]]]:
    answer = await world.call(rpcs.LIST_SERVICES, admin_pb2.ListServicesRequest())
    assert [(each.kind, each.name) for each in answer.services] == sorted((e.kind, e.name) for e in answer.services)
    return answer.healthy, {each.name: (each.status, each.reason) for each in answer.services}


async def test_services_are_listed_with_their_health_now(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_status, "CHECK_TIMEOUT_S", 0.1)
    await world.list_service("etcd-0", "etcd", host=this_host())
    answer = await world.call(rpcs.LIST_SERVICES, admin_pb2.ListServicesRequest())
    revision = (await world.directory.range("")).revision
    assert (answer.healthy, answer.directory_revision) == (True, revision)
    etcd, shard, _ = answer.services
    assert etcd.rss_bytes > 10_000_000
    etcd.ClearField("rss_bytes")
    assert etcd == admin_pb2.ServiceState(
        name="etcd-0", kind="etcd", address="etcd-0:1", status="SERVING", pid=os.getpid(), restarts=0
    )
    assert shard == admin_pb2.ServiceState(
        name="shard-0", kind="shard", address="shard-0:1", status="SERVING", pid=os.getpid(), restarts=0
    )
    world.health["shard-0"].status = health_pb2.HealthCheckResponse.NOT_SERVING
    world.peers.delay("shard-1:1", 60_000)
    assert await states(world) == (
        False,
        {
            "etcd-0": ("SERVING", ""),
            "shard-0": ("NOT_SERVING", "it says NOT_SERVING"),
            "shard-1": ("UNREACHABLE", "shard-1:1: no answer in time"),
        },
    )
    world.peers.unregister("etcd-0:1")
    world.peers.heal("shard-1:1")
    world.health["shard-0"].status = health_pb2.HealthCheckResponse.SERVING
    assert await states(world) == (
        False,
        {"etcd-0": ("UNREACHABLE", "etcd-0:1: nobody there"), "shard-0": ("SERVING", ""), "shard-1": ("SERVING", "")},
    )


async def test_a_service_says_why_it_does_not_serve_wholly(world: World) -> None:
    (entry,) = (await world.directory.range(service_key("shard-0"))).entries
    for reason, expected in [
        ("replaying log 3 of 7, 41 s left", (False, ("NOT_SERVING", "replaying log 3 of 7, 41 s left"))),
        ("", (True, ("SERVING", ""))),
    ]:
        record = replace(ServiceRecord.from_json(entry.value), reason=reason)
        await world.directory.swap([], [Put(service_key("shard-0"), record.to_json())])
        healthy, found = await states(world)
        del found["etcd-0"]
        assert (healthy or found["shard-0"][0] == "SERVING", found["shard-0"]) == expected


async def test_without_a_directory_the_services_known_are_listed_and_the_cluster_is_not_healthy(world: World) -> None:
    world.directory.go_away()
    assert await states(world) == (
        False,
        {
            "etcd-0": ("UNREACHABLE", "etcd:2379: nobody there"),
            "shard-0": ("SERVING", ""),
            "shard-1": ("SERVING", ""),
        },
    )
