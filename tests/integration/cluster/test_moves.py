"""Slots move between real shards in one process, while events come in and are asked for."""

import asyncio
from typing import Any, cast

import pytest
from evenshard.api.v1 import admin_pb2, shard_pb2
from evenshard.directory.keys import operation_key
from evenshard.directory.moves import Move
from evenshard.directory.operations import Operation
from evenshard.directory.placement import even_placement
from evenshard.errors import EvenshardError
from evenshard.events.hashing import SLOT_SHIFT, hash_of
from evenshard.ids import Epoch, OperationId, ShardId
from evenshard.router.move_ways import MoveWays
from evenshard.router.moves_driver import MoveDriver
from evenshard.runtime.operations import StoredOperation
from evenshard.storage.moving.store_moves import StoreMoves
from evenshard.testing.cluster import ROUTER, MemoryCluster
from evenshard.testing.move_traffic import (
    DAY_MS,
    START_MS,
    A,
    B,
    C,
    Traffic,
    began,
    complete,
    holds_nothing,
    moved,
    rows_of,
    shown,
    until,
)
from evenshard.testing.reference import ndjson_of
from evenshard.wire import rpcs
from evenshard.wire.move_calls import follow_request
from evenshard.wire.operations import hide_request


async def test_a_tenant_moves_under_traffic_and_its_sources_forget() -> None:
    async with MemoryCluster(shards=3, routers=2, seed=1) as cluster:
        tenant = await cluster.create_tenant("acme", placement=even_placement([A, B]))
        traffic = Traffic(cluster, "acme", [ROUTER, "router-1"])
        await traffic.send(2_000)
        await cluster.compact(tenant)
        await traffic.send(500)
        operation = await began(cluster, rpcs.MOVE_TENANT, admin_pb2.MoveTenantRequest(tenant="acme", to=C))
        switched = await traffic.during(until(cluster, operation, "switched"))
        assert (switched.verify.equal, switched.error) == (True, "")
        assert (await cluster.tenant("acme")).placement.shards == (C,)
        await traffic.during(asyncio.sleep(0.3))
        await traffic.check()
        await traffic.during(complete(cluster, operation))
        await traffic.check()
        await cluster.until(lambda: holds_nothing(cluster, "acme", A, B))
        assert (await rows_of(cluster, "acme"))[C] >= len(traffic.rows)
        await cluster.crash(C)
        await cluster.start(C)
        await traffic.check()


async def test_a_rollback_brings_everything_back() -> None:
    async with MemoryCluster(shards=3, seed=2) as cluster:
        tenant = await cluster.create_tenant("acme", placement=even_placement([A]))
        traffic = Traffic(cluster, "acme")
        await traffic.send(1_000)
        await cluster.compact(tenant)
        operation = await began(cluster, rpcs.SPLIT_TENANT, admin_pb2.SplitTenantRequest(tenant="acme", to=[B, C]))
        await traffic.during(until(cluster, operation, "switched"))
        assert set((await cluster.tenant("acme")).placement.shards) == {A, B, C}
        await traffic.send(300)
        await traffic.check()
        back = admin_pb2.RollbackOperationRequest(operation=operation)
        await cluster.call(ROUTER, rpcs.ROLLBACK_OPERATION, back)
        await traffic.during(until(cluster, operation, "rolled_back"))
        assert (await cluster.tenant("acme")).placement.shards == (A,)
        await traffic.check()
        await cluster.until(lambda: holds_nothing(cluster, "acme", B, C))
        again = await began(cluster, rpcs.SPLIT_TENANT, admin_pb2.SplitTenantRequest(tenant="acme", to=[C]))
        await traffic.during(until(cluster, again, "switched"))
        await traffic.check()


async def test_a_drained_shard_is_empty() -> None:
    async with MemoryCluster(shards=3, seed=3) as cluster:
        traffics = []
        for number in range(3):
            await cluster.create_tenant(f"t{number}", placement=even_placement([A, B]))
            traffics.append(Traffic(cluster, f"t{number}"))
            await traffics[-1].send(200)
        operation = await began(cluster, rpcs.DRAIN_SHARD, admin_pb2.DrainShardRequest(shard=A))
        await traffics[0].during(until(cluster, operation, "complete"))
        for number, traffic in enumerate(traffics):
            assert A not in (await cluster.tenant(f"t{number}")).placement.shards
            await traffic.check()
            await cluster.until(lambda number=number: holds_nothing(cluster, f"t{number}", A))  # type: ignore[misc]
        with pytest.raises(EvenshardError, match="SHARD_NOT_ELIGIBLE"):
            await began(cluster, rpcs.MOVE_TENANT, admin_pb2.MoveTenantRequest(tenant="t1", to=A))


async def test_a_drain_that_is_rolled_back_leaves_everything_where_it_was() -> None:
    async with MemoryCluster(shards=3, seed=9) as cluster:
        tenants = [await cluster.create_tenant(f"t{number}", placement=even_placement([A])) for number in range(5)]
        traffics = [Traffic(cluster, tenant.name) for tenant in tenants]
        for tenant, traffic in zip(tenants, traffics, strict=True):
            await traffic.send(80)
            await cluster.compact(tenant)
            await traffic.send(20)
        drain = await began(cluster, rpcs.DRAIN_SHARD, admin_pb2.DrainShardRequest(shard=A))
        request = admin_pb2.RollbackOperationRequest(
            operation=drain, options=admin_pb2.ChangeOptions(request_id="taken back")
        )

        async def one_has_gone() -> bool:
            found = await cluster.call(ROUTER, rpcs.LIST_OPERATIONS, admin_pb2.ListOperationsRequest())
            return any(each.kind == "move" and each.state == "complete" for each in found.operations)

        async def taken_back() -> admin_pb2.Operation:
            await cluster.until(one_has_gone)
            asked = (await cluster.call(ROUTER, rpcs.ROLLBACK_OPERATION, request)).operation
            assert (asked.operation, asked.state, asked.error) == (drain, "running", "is being rolled back")
            assert (await cluster.call(ROUTER, rpcs.ROLLBACK_OPERATION, request)).operation.operation == drain
            return await until(cluster, drain, "rolled_back")

        ended = await traffics[0].during(taken_back())
        assert ended.error == ""
        for tenant, traffic in zip(tenants, traffics, strict=True):
            assert (await cluster.tenant(tenant.name)).placement.shards == (A,)
            await traffic.check()
            await cluster.until(lambda name=tenant.name: holds_nothing(cluster, name, B, C))  # type: ignore[misc]
            await traffic.send(20)
            await traffic.check()
        shards = (await cluster.call(ROUTER, rpcs.LIST_SHARDS, admin_pb2.ListShardsRequest())).shards
        assert {shard.shard: shard.state for shard in shards} == dict.fromkeys([A, B, C], "active")


async def test_a_directory_that_was_set_back_is_refused_and_nothing_changes() -> None:
    async with MemoryCluster(shards=2, seed=4) as cluster:
        before = await cluster.create_tenant("acme", placement=even_placement([A]))
        traffic = Traffic(cluster, "acme")
        await traffic.send(100)
        operation = await began(cluster, rpcs.MOVE_TENANT, admin_pb2.MoveTenantRequest(tenant="acme", to=B))
        await until(cluster, operation, "switched")
        await traffic.send(100)
        after = await cluster.tenant("acme")
        await cluster.put_tenant(before)
        await cluster.until(lambda: set_back(cluster))
        row = traffic._row(10_000)
        answer = await cluster.import_events("acme", ndjson=ndjson_of([row]))
        assert [error.code for error in answer.errors] == ["SHARD_UNAVAILABLE"]
        assert "DIRECTORY_UNSUITABLE" in answer.errors[0].message
        await cluster.put_tenant(after)
        await cluster.until(lambda: answers(cluster))
        await traffic.check()


async def set_back(cluster: MemoryCluster) -> bool:
    try:
        await cluster.export("acme", START_MS, START_MS + DAY_MS)
    except EvenshardError as error:
        return error.code == "DIRECTORY_UNSUITABLE"
    return False


async def answers(cluster: MemoryCluster) -> bool:
    try:
        await cluster.export("acme", START_MS, START_MS + DAY_MS)
    except EvenshardError:
        return False
    return True


def before_the_first_fence(
    monkeypatch: pytest.MonkeyPatch, cluster: MemoryCluster, shard: ShardId, hidden: shard_pb2.HideUsersRequest
) -> list[int]:
    """A shard hides users. The revisions at which moves were about to be fenced, as they come."""
    persist_epoch, fences = MoveDriver._persist_epoch, list[int]()

    async def hides(self: MoveDriver, stored: StoredOperation) -> None:
        fences.append(stored.revision)
        if len(fences) == 1:
            await cluster.call(shard, rpcs.HIDE_USERS, hidden)
        await persist_epoch(self, stored)

    monkeypatch.setattr(MoveDriver, "_persist_epoch", hides)
    return fences


async def move_of(cluster: MemoryCluster, operation: str) -> Move:
    """As its record stands. A busy machine may need more fences than one until there is time enough within one."""
    entry = await cluster.directory.get(operation_key(OperationId(operation)))
    assert entry is not None
    move = Operation.from_json(entry.value).move
    assert move is not None
    return move


async def test_a_row_that_comes_between_the_deletions_of_source_and_target_goes_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The target hides it, the source does not: that is found at the fence, and the slots are copied anew."""
    async with MemoryCluster(shards=2, seed=8) as cluster:
        tenant = await cluster.create_tenant("acme", placement=even_placement([A, B]))
        traffic = Traffic(cluster, "acme")
        await traffic.send(400)
        await cluster.compact(tenant)
        user = next(f"u{number}" for number in range(97) if hash_of(f"u{number}") >> SLOT_SHIFT <= 2047)
        between = {**traffic._row(0), "distinct_id": user, "insert_id": "between"}
        hidden = hide_request(tenant.name, Epoch(1), OperationId("gone"), [user])
        fences = before_the_first_fence(monkeypatch, cluster, B, hidden)
        await cluster.call(A, rpcs.HIDE_USERS, hidden)
        assert (await cluster.import_events("acme", ndjson=ndjson_of([between]))).accepted == 1
        slots = admin_pb2.WantedSlots(first=0, last=2047)
        request = admin_pb2.MoveTenantRequest(tenant="acme", to=B, slots=slots)
        operation = await began(cluster, rpcs.MOVE_TENANT, request)
        switched = await until(cluster, operation, "switched")
        assert (switched.verify.equal, len(fences) > 1, (await move_of(cluster, operation)).copies) == (True, True, 1)
        traffic.rows = [row for row in traffic.rows if row["distinct_id"] != user] + [between]
        await traffic.check()


async def test_a_source_that_was_restarted_before_the_fence_is_compared_again_and_nothing_is_copied_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It counts row by row then, and its follower by files."""
    async with MemoryCluster(shards=2, seed=11) as cluster:
        tenant = await cluster.create_tenant("acme", placement=even_placement([A]))
        traffic = Traffic(cluster, "acme")
        await traffic.send(500)
        await cluster.compact(tenant)
        persist_epoch, fences = MoveDriver._persist_epoch, list[int]()

        async def restarted(self: MoveDriver, stored: StoredOperation) -> None:
            fences.append(stored.revision)
            if len(fences) == 1:
                await cluster.crash(A)
                await cluster.start(A)
            await persist_epoch(self, stored)

        monkeypatch.setattr(MoveDriver, "_persist_epoch", restarted)
        operation = await began(cluster, rpcs.MOVE_TENANT, admin_pb2.MoveTenantRequest(tenant="acme", to=B))
        await until(cluster, operation, "switched")
        move = await move_of(cluster, operation)
        assert (len(fences) > 1, move.copies, move.differences) == (True, 0, ())
        await traffic.check()


async def verified(cluster: MemoryCluster, operation: str) -> admin_pb2.OperationVerify:
    request = admin_pb2.VerifyOperationRequest(operation=operation)
    found: admin_pb2.OperationVerify = (await cluster.call(ROUTER, rpcs.VERIFY_OPERATION, request)).operation.verify
    return found


async def test_both_sides_of_a_move_are_compared_anew_while_events_come() -> None:
    async with MemoryCluster(shards=2, seed=9) as cluster:
        tenant = await cluster.create_tenant("acme", placement=even_placement([A]))
        traffic = Traffic(cluster, "acme")
        await traffic.send(900)
        await cluster.compact(tenant)
        await traffic.send(100)
        operation = await began(cluster, rpcs.MOVE_TENANT, admin_pb2.MoveTenantRequest(tenant="acme", to=B))
        await until(cluster, operation, "switched")
        for _ in range(3):
            found = await traffic.during(verified(cluster, operation))
            assert (found.equal, list(found.differences)) == (True, [])
        gone = hide_request(tenant.name, Epoch(2), OperationId("gone"), ["u1"])
        await cluster.call(A, rpcs.HIDE_USERS, gone)  # as if it had lost them
        found = await traffic.during(verified(cluster, operation))
        slot = hash_of("u1") >> SLOT_SHIFT
        assert not found.equal
        assert all(f"rows of slot {slot} on day" in each for each in found.differences), found.differences
        assert (await shown(cluster, operation)).verify.equal  # so it was at the fence
        await complete(cluster, operation)
        assert (await verified(cluster, operation)).equal  # nothing is left to compare with
        await traffic.check()


async def test_what_came_in_files_alone_is_compared_and_shipped_back_as_any_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A shard whose log is empty is fenced, and followed, from position 0."""
    async with MemoryCluster(shards=3, seed=10) as cluster:
        tenant = await cluster.create_tenant("acme", placement=even_placement([A]))
        traffic = Traffic(cluster, "acme")
        await traffic.send(500)
        await cluster.compact(tenant)
        await moved(cluster, "acme", B)
        gone = hide_request(tenant.name, Epoch(2), OperationId("gone"), ["u1"])
        before_the_first_fence(monkeypatch, cluster, C, gone)  # as if it had lost them
        operation = await began(cluster, rpcs.MOVE_TENANT, admin_pb2.MoveTenantRequest(tenant="acme", to=C))
        await until(cluster, operation, "switched")
        entry = await cluster.directory.get(operation_key(OperationId(operation)))
        assert entry is not None
        stored = StoredOperation(Operation.from_json(entry.value), entry.revision)
        assert stored.operation.move is not None
        assert stored.operation.move.copies == 1  # it was found
        (way,) = MoveWays(cast(Any, None)).ways(stored, back=True)
        assert (way.source, way.target, way.from_position) == (C, B, 0)
        assert (await verified(cluster, operation)).equal
        digest_now, late = StoreMoves.digest_now, [True]

        def not_yet(self: StoreMoves, moved: Any, operation: str) -> tuple[Any, int | None]:
            digest, followed = digest_now(self, moved, operation)
            return digest, None if followed is not None and late and late.pop() else followed

        monkeypatch.setattr(StoreMoves, "digest_now", not_yet)  # as if it was not told yet to follow
        assert (await verified(cluster, operation)).equal
        assert late == []
        epoch = (await cluster.tenant("acme")).placement.epoch
        told = await cluster.call(B, rpcs.FOLLOW_SLOTS, follow_request(way.moved, epoch, C, C, 0, way.from_position))
        assert (told.phase, told.rows_done) == (shard_pb2.FOLLOW_PHASE_CATCHING_UP, 0)  # nothing was copied back
        await traffic.check()
