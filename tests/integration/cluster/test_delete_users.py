"""Deleting users on a whole cluster in memory: import, delete, import again, and the first answers come back."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from evenshard.api.v1 import admin_pb2
from evenshard.directory.keys import MARKS
from evenshard.directory.tenant import HotKeyMode, Tenant, TenantSettings
from evenshard.errors import EvenshardError
from evenshard.hotkeys.marks import Mark
from evenshard.testing.cluster import COUNTER, ROUTER, MemoryCluster
from evenshard.testing.disk import MemoryDisk
from evenshard.wire import rpcs
from evenshard.wire.sealing import record_request

FROM, TO = "2026-01-01", "2026-01-02"
START_MS = 1_767_225_600_000
DAY_MS = 86_400_000
THRESHOLD = 20
SEED = 20260107
QUERIES: Sequence[dict[str, Any]] = (
    {},
    {"measure": "unique"},
    {"by": ["$event"]},
    {"by": ["$distinct_id"]},
    {"events": ["$hotshard_events"], "by": ["mp_original_distinct_id"]},
)


class World:
    """One router, one counter, two shards, a tenant with a low threshold."""

    def __init__(self, cluster: MemoryCluster, tenant: Tenant) -> None:
        self.cluster = cluster
        self.tenant = tenant

    async def send(
        self, user: str, first: int, count: int, day: int = 0, router: str = ROUTER
    ) -> tuple[int, int, int, int]:
        """Accepted, duplicates, rewritten, rejected."""
        lines = [
            {
                "event": ("view", "sale")[number % 2],
                "properties": {
                    "distinct_id": user,
                    "time": START_MS + day * DAY_MS + number * 1000,
                    "$insert_id": f"{user}-{day}-{number}",
                    "number": number,
                },
            }
            for number in range(first, first + count)
        ]
        answer = await self.cluster.import_events("acme", router=router, ndjson=b"\n".join(map(orjson.dumps, lines)))
        return answer.accepted, answer.duplicates, answer.hot_events_rewritten, answer.rejected

    async def shown(self) -> list[Any]:
        """All there is to see."""
        found: list[Any] = [
            await self.cluster.export("acme", START_MS, START_MS + 2 * DAY_MS, include_duplicates=include)
            for include in (False, True)
        ]
        for query in QUERIES:
            answer = await self.cluster.segmentation("acme", FROM, TO, **query)
            found.append(
                [
                    (str(line.by), [value.int64_value for value in line.values], line.overall.int64_value)
                    for line in answer.series
                ]
            )
            found.append(answer.meta.hot_events_rewritten)
        return found

    async def delete(self, *users: str, block: bool = False) -> str:
        request = admin_pb2.DeleteUsersRequest(tenant="acme", distinct_ids=users, block=block)
        operation: str = (await self.cluster.call(ROUTER, rpcs.DELETE_USERS, request)).operation.operation
        return operation

    async def ended(self, operation: str) -> admin_pb2.Operation:
        request = admin_pb2.WaitOperationRequest(operation=operation)
        waited: admin_pb2.Operation = (await self.cluster.call(ROUTER, rpcs.WAIT_OPERATION, request)).operation
        return waited

    async def counted(self, user: str, count: int) -> None:
        """Waits until the counter knows."""

        async def known() -> bool:
            return any((key.distinct_id, key.count) == (user, count) for key in await self.cluster.hot_keys("acme", 99))

        await self.cluster.until(known)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with MemoryCluster(seed=SEED) as cluster:
        yield World(cluster, await cluster.create_tenant("acme", TenantSettings(hot_key_threshold=THRESHOLD)))


async def import_all(world: World, users: Sequence[str]) -> list[tuple[int, int, int, int]]:
    """A hot user over two days, one near the threshold, one that is calm: in batches."""
    sends = [
        ("runaway", 0, 15, 0), ("near", 0, 12, 0), ("runaway", 15, 25, 0), ("calm", 0, 5, 0),
        ("near", 12, 7, 0), ("runaway", 0, 23, 1), ("", 0, 30, 0), ("runaway", 40, 3, 0),
    ]  # fmt: skip
    return [await world.send(*each) for each in sends if each[0] in users]


@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize("counters_know", [False, True])
async def test_import_delete_import_gives_the_first_answers_hot_ones_included(
    world: World, compacted: bool, counters_know: bool
) -> None:
    everybody = ("runaway", "near", "calm", "")
    await import_all(world, ("calm", ""))
    without = await world.shown()
    first = await import_all(world, ("runaway", "near"))
    assert sum(rewritten for _, _, rewritten, _ in first) == 40 - THRESHOLD + 3 + 3
    before = await world.shown()
    if compacted:
        await world.cluster.compact(world.tenant)
    if counters_know:
        await world.counted("runaway", 43)
        await world.counted("near", 19)
    operation = await world.delete("runaway", "near")
    assert await world.shown() == without
    assert await import_all(world, ("runaway", "near")) == first
    assert await world.shown() == before
    done = await world.ended(operation)
    assert (done.state, done.error) == ("complete", "")
    assert await world.shown() == before
    for shard in world.cluster.shard_names:
        await world.cluster.crash(shard)
        await world.cluster.start(shard)
    assert await world.shown() == before
    await world.ended(await world.delete(*everybody[:3]))
    await world.cluster.compact(world.tenant)
    await import_all(world, everybody[:3])
    assert await world.shown() == before


async def test_a_user_who_was_near_the_threshold_begins_at_nothing(world: World) -> None:
    await world.send("near", 0, THRESHOLD)
    await world.counted("near", THRESHOLD)
    await world.delete("near")
    assert [key.distinct_id for key in await world.cluster.hot_keys("acme")] == []
    assert await world.send("near", 0, THRESHOLD) == (THRESHOLD, 0, 0, 0)
    assert await world.send("near", THRESHOLD, 3) == (3, 0, 3, 0)


async def test_marks_of_a_deleted_user_are_gone_when_the_call_answers(world: World) -> None:
    await world.send("runaway", 0, 30)

    async def marked() -> bool:
        return bool((await world.cluster.directory.range(MARKS)).entries)

    await world.cluster.until(marked)
    await world.delete("runaway")
    assert not await marked()
    assert await world.send("runaway", 100, THRESHOLD) == (THRESHOLD, 0, 0, 0)


async def records(world: World) -> list[dict[str, Any]]:
    """The audit events there are, as they are shown."""
    lines = await world.cluster.export("acme", 0, 1 << 42, events=["$hotshard_record"])
    return [orjson.loads(line)["properties"] for line in lines.splitlines()]


async def active_mark(world: World) -> Mark:
    async def active() -> bool:
        entries = (await world.cluster.directory.range(MARKS)).entries
        return [Mark.from_json(entry.value).state for entry in entries] == ["active"]

    await world.cluster.until(active)
    (entry,) = (await world.cluster.directory.range(MARKS)).entries
    return Mark.from_json(entry.value)


@pytest.mark.parametrize(
    "mode", ["rewrite", *(pytest.param(mode, marks=pytest.mark.slow) for mode in ("salt", "observe"))]
)
async def test_the_record_of_a_deleted_users_key_goes_with_them_and_leaves_no_byte(mode: HotKeyMode) -> None:
    async with MemoryCluster(shards=3, seed=SEED) as cluster:
        settings = TenantSettings(hot_key_threshold=THRESHOLD, hot_key_mode=mode)
        world = World(cluster, await cluster.create_tenant("acme", settings))
        gone = "person-4711-to-be-forgotten"
        for user in (gone, "stays"):
            await world.send(user, 0, 30)
            await active_mark(world) if user == gone else None
        await cluster.until(lambda: _has(world, 2))
        await cluster.compact(world.tenant)
        await world.send(gone, 30, 5)
        await world.send(gone, 100, 30)
        assert (await world.ended(await world.delete(gone))).state == "complete"
        (left,) = await records(world)
        assert (left["mp_original_distinct_id"], left["distinct_id"], left["mode"]) == ("stays", "", mode)
        for shard in cluster.shard_names:
            assert traces_on(cluster.disk(shard), gone) == []
        assert [entry.key for entry in (await cluster.directory.range(MARKS)).entries if gone in entry.key] == []


async def _has(world: World, count: int) -> bool:
    return len(await records(world)) == count


def traces_on(disk: MemoryDisk, needle: str) -> list[str]:
    """Files that hold it: in their bytes, or in a decoded column."""
    found = []
    for path in [f"{folder}/{name}" for folder in ("log", "segments") for name in disk.list(folder)]:
        file = disk.open(path)
        data = file.read(0, file.size())
        is_table = path.endswith(".parquet")
        rows = str(pq.read_table(pa.BufferReader(data)).to_pydict()) if is_table else ""
        if needle.encode() in data or needle in rows:
            found.append(path)
    catalog = disk.database_copy("catalog.sqlite")
    assert catalog is not None
    return found + [line for line in catalog.iterdump() if needle in line]


async def test_a_record_that_comes_after_its_user_was_deleted_is_not_stored(world: World) -> None:
    """By a driver that was paused since it had the key sealed."""
    await world.send("runaway", 0, 30)
    mark = await active_mark(world)
    tenant = await world.cluster.tenant("acme")
    home, day = tenant.placement.home_of("runaway"), START_MS // DAY_MS
    late = record_request(tenant.name, tenant.placement.epoch, ("runaway", day), mark.nonce)
    await world.cluster.call(home, rpcs.RECORD_KEY, late)  # again: a duplicate
    assert len(await records(world)) == 1
    await world.ended(await world.delete("runaway"))
    with pytest.raises(EvenshardError, match="OPERATION_CONFLICT"):
        await world.cluster.call(home, rpcs.RECORD_KEY, late)
    assert await records(world) == []


async def test_a_record_is_stored_at_home_also_where_the_key_of_its_day_was_handed_over(world: World) -> None:
    now_ms = world.cluster.clock.now_ms()
    day = now_ms // DAY_MS - START_MS // DAY_MS
    for user in ("today", "later"):
        time_ms = START_MS + day * DAY_MS
        lines = [
            {"event": "view", "properties": {"distinct_id": user, "time": time_ms + number, "$insert_id": f"{number}"}}
            for number in range(30)
        ]
        await world.cluster.import_events("acme", ndjson=b"\n".join(map(orjson.dumps, lines)))
    await world.cluster.until(lambda: _has(world, 2))
    await world.send("today", 0, 30)  # of another day: its record is of today too, whose key was handed over
    await world.cluster.until(lambda: _has(world, 3))
    assert sorted(each["mp_original_distinct_id"] for each in await records(world)) == ["later", "today", "today"]
    await world.ended(await world.delete("today"))
    assert [each["mp_original_distinct_id"] for each in await records(world)] == ["later"]


async def test_a_dead_counter_does_not_hold_a_deletion_up(world: World) -> None:
    await world.send("near", 0, 5)
    await world.cluster.stop(COUNTER)
    assert (await world.ended(await world.delete("near"))).state == "complete"
    assert (await world.shown())[0] == b""


async def test_blocked_users_are_refused_from_the_answer_on(world: World) -> None:
    await world.send("bad", 0, 5)
    await world.send("good", 0, 5)
    await world.delete("bad", block=True)
    assert await world.send("bad", 5, 4) == (0, 0, 0, 4)
    assert await world.send("good", 5, 4) == (4, 0, 0, 0)
    await world.cluster.stop(ROUTER)
    await world.cluster.start(ROUTER)
    assert await world.send("bad", 5, 4) == (0, 0, 0, 4)


async def test_a_router_that_stops_in_the_middle_is_followed_by_the_next(world: World) -> None:
    await world.send("gone", 0, 50)
    await world.send("stays", 0, 5)
    frozen, *_ = world.cluster.shard_names
    world.cluster.peers.delay(frozen, 60_000)
    deleting = asyncio.create_task(world.delete("gone"))

    async def begun() -> bool:
        answer = await world.cluster.call(ROUTER, rpcs.LIST_OPERATIONS, admin_pb2.ListOperationsRequest())
        return [each.state for each in answer.operations] == ["running"]

    await world.cluster.until(begun)
    await world.cluster.crash(ROUTER)
    await asyncio.gather(deleting, return_exceptions=True)
    world.cluster.peers.heal(frozen)
    await world.cluster.start(ROUTER)
    answer = await world.cluster.call(ROUTER, rpcs.LIST_OPERATIONS, admin_pb2.ListOperationsRequest())
    done = await world.ended(answer.operations[0].operation)
    assert done.state == "complete"
    exported = [orjson.loads(line) for line in (await world.shown())[0].splitlines()]
    assert {row["properties"]["distinct_id"] for row in exported} == {"stays"}
    assert len(exported) == 5


async def test_a_retention_hides_and_removes_expired_events(world: World) -> None:
    now_ms = world.cluster.clock.now_ms()
    today = now_ms // DAY_MS
    for age in (0, 1, 2, 3, 400):
        time_ms = min(now_ms, (today - age) * DAY_MS + 1000)
        line = {"event": f"{age}", "properties": {"distinct_id": "u", "time": time_ms, "$insert_id": f"{age}"}}
        await world.cluster.import_events("acme", ndjson=orjson.dumps(line))
    request = admin_pb2.UpdateTenantRequest(tenant="acme", settings=admin_pb2.TenantSettings(retention_days=2))
    await world.cluster.call(ROUTER, rpcs.UPDATE_TENANT, request)

    async def names() -> list[str]:
        rows = await world.cluster.export("acme", START_MS - 1000 * DAY_MS, now_ms + 1)
        return sorted(orjson.loads(row)["event"] for row in rows.splitlines())

    async def expired() -> bool:
        return await names() == ["0", "1", "2"]

    await world.cluster.until(expired)
    request.settings.retention_days = 0
    await world.cluster.call(ROUTER, rpcs.UPDATE_TENANT, request)

    async def removed() -> bool:
        answer = await world.cluster.call(ROUTER, rpcs.GET_STORAGE, admin_pb2.GetStorageRequest(tenant="acme"))
        (tenant,) = answer.tenants
        return bool(tenant.log_rows + tenant.segment_rows == 3)

    await world.cluster.until(removed, timeout_s=20)
    assert await expired()


async def test_other_routers_follow_within_a_second() -> None:
    async with MemoryCluster(seed=SEED, routers=2) as cluster:
        world = World(cluster, await cluster.create_tenant("acme", TenantSettings(hot_key_threshold=THRESHOLD)))
        other = "router-1"
        assert await world.send("near", 0, THRESHOLD - 1, router=other) == (THRESHOLD - 1, 0, 0, 0)
        await world.counted("near", THRESHOLD - 1)
        assert await world.send("runaway", 0, 30, router=other) == (30, 0, 10, 0)
        await world.delete("near", "runaway")

        async def refused() -> bool:
            return (await world.send("bad", 0, 1, router=other))[3] == 1

        await world.delete("bad", block=True)
        await cluster.until(refused, timeout_s=1.0)
        await cluster.clock.sleep(1_000)  # by now its other watches have told it too
        for user in ("near", "runaway"):
            assert await world.send(user, 0, THRESHOLD, router=other) == (THRESHOLD, 0, 0, 0)
            assert await world.send(user, THRESHOLD, 2, router=other) == (2, 0, 2, 0)
